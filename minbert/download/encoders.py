"""Published encoders, from the hub into its local cache; bert-base-uncased into data/ as well.

The hub's own client says where the cache is and what an error means; the bytes go through `fetch`,
because `hf_hub_download` (2.4) throws a partial file away when it fails, compares sizes and not
hashes, and waits for ever on a server that drips.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from huggingface_hub import constants, hf_hub_url
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import build_hf_headers

from minbert.download.fetch import Expected, alone_in, fetch, open_client
from minbert.download.http import http
from minbert.download.listing import Listing, listed
from minbert.download.retries import Patience
from minbert.encoder import hub, tensor_files, weights
from minbert.encoder.config import EncoderConfig
from minbert.encoder.hub import Published
from minbert.encoder.pooling import POOLING_FILE
from minbert.support import durable_files
from minbert.support.console import log
from minbert.support.errors import InputError, RunError
from minbert.support.places import COURSE_ENCODER

T = TypeVar("T")


def fetch_weights(wanted: Published, patience: Patience) -> str:
    """Bring a checkpoint onto this machine, whole; returns the line that says where it is.

    Raises InputError where there is no such checkpoint or it is not in a layout that is read here,
    RunError where it cannot be fetched.
    """
    if not wanted.pinned:
        commit = _into_cache(wanted, patience).name
        return (
            f"weights: {wanted.name} at revision {commit} is in the local cache; "
            f"use it with --weights {wanted}"
        )
    if not COURSE_ENCODER.exists():
        snapshot = hub.cached(wanted)
        if snapshot is None or _not_bert(snapshot):
            snapshot = _into_cache(wanted, patience)
        _make_folder(snapshot, COURSE_ENCODER)
    elif wrong := _not_bert(COURSE_ENCODER):
        raise RunError(
            f"{COURSE_ENCODER}/ holds something else than the pinned bert-base-uncased ({wrong}): "
            "move it away and run the same command again"
        )
    else:
        log.info("%s/: there already, its hashes are right", COURSE_ENCODER)
    return f"weights: {wanted.name} at revision {wanted.revision} is in {COURSE_ENCODER}/"


def _not_bert(folder: Path) -> str:
    """Return why a folder is not the pinned bert-base-uncased; empty if it is."""
    try:
        EncoderConfig.from_file(folder / "config.json")
    except InputError as error:
        return str(error)
    pins = hub.BERT_SHA256.items()
    wrong = [name for name, digest in pins if not Expected(digest).holds(folder / name)]
    return f"another {' and '.join(wrong)}, or none" if wrong else ""


def _make_folder(snapshot: Path, folder: Path) -> None:
    """Give a cached checkpoint a folder of its own, which shares the tensors with the cache."""
    with alone_in(folder.parent):
        if folder.exists():  # another process was faster
            return
        with durable_files.new_folder(folder) as draft:
            for name in ("config.json", *weights.VOCAB_FILES):
                if (snapshot / name).is_file():
                    shutil.copyfile(snapshot / name, draft / name)
            tensors = tensor_files.main_file(snapshot)
            try:
                os.link(tensors.resolve(), draft / tensors.name)
            except OSError:  # the cache is on another disk
                shutil.copyfile(tensors, draft / tensors.name)
            if wrong := _not_bert(draft):
                raise RunError(f"{snapshot}/ was changed after it was checked ({wrong})")


def _into_cache(wanted: Published, patience: Patience) -> Path:
    """Return the checkpoint's folder in the cache, whole and checked against the hub's hashes."""
    if constants.is_offline_mode():
        return _as_cached(wanted)
    with open_client(patience) as client:
        copying = _Copying(client, listed(client, wanted, patience), patience)
        copying.all_files()
    return copying.snapshot


@dataclass(frozen=True)
class _Copying:
    """A checkpoint on its way into the cache."""

    client: http.Client
    listing: Listing
    patience: Patience

    @property
    def repository(self) -> Path:
        name = repo_folder_name(repo_id=self.listing.wanted.name, repo_type="model")
        return Path(constants.HF_HUB_CACHE) / name

    @property
    def snapshot(self) -> Path:
        return self.repository / "snapshots" / self.listing.commit

    def all_files(self) -> None:
        """Bring the files that are needed: small ones, which may tell that the rest is useless."""
        wanted, commit = self.listing.wanted, self.listing.commit
        small, main = _needed(self.listing)
        for name in small:
            path = self._file(name)
            if name == "config.json":
                _check_layout(wanted, name, path, EncoderConfig.from_file)
        tensors = self._file(main)
        shards: list[str] = []
        if main.endswith(tensor_files.INDEX):
            read = partial(tensor_files.shards_in, name=main)
            shards = _check_layout(wanted, main, tensors, read)
            _check_there(self.listing, shards)
            for name in shards:
                self._file(name)
        with alone_in(self.repository):  # no file gets its name there before all have come
            for name in (*small, main, *shards):
                _point(self.snapshot / name, self._blob(name))
            if wanted.revision != commit:
                durable_files.write_text(self.repository / "refs" / wanted.revision, commit)

    def _blob(self, name: str) -> Path:
        return self.repository / "blobs" / self.listing.blob(name)

    def _file(self, name: str) -> Path:
        """Where a file's bytes are, fetched unless they are in the cache."""
        wanted, expected = self.listing.wanted, self.listing.expected(name)
        blob, place = self._blob(name), self.snapshot / name
        if expected.holds(place):
            log.info("%s: %s is in the local cache, its hash is right", wanted, name)
        else:
            url = hf_hub_url(wanted.name, name, revision=self.listing.commit)
            fetch(self.client, url, blob, expected, self.patience, build_hf_headers())
            log.info("%s: %s fetched, its hash is right", wanted, name)
        return blob if blob.is_file() else place


def _as_cached(wanted: Published) -> Path:
    """Return the checkpoint's folder in the cache, without asking the hub. Raises RunError."""
    folder = hub.cached(wanted)
    if folder is None:
        raise RunError(
            f"{wanted}: not in the local cache, and HF_HUB_OFFLINE forbids fetching it: unset "
            "HF_HUB_OFFLINE, or run this where there is a network"
        )
    weights.check_folder(folder)
    log.info("%s: taken from the local cache as it is (HF_HUB_OFFLINE is set)", wanted)
    return folder


def _check_layout(wanted: Published, name: str, path: Path, read: Callable[[Path], T]) -> T:
    """What `read` finds in a file. Raises InputError in the checkpoint's name where it does."""
    try:
        return read(path)
    except InputError as error:
        why = str(error).removeprefix(f"{path}: ")
        raise InputError(f"{wanted}: not in a layout that is read here: {name}: {why}") from error


def _point(pointer: Path, blob: Path) -> None:
    """Give a blob its name in a snapshot, as the cache does: by a relative link, or as a copy."""
    if not blob.is_file() or (pointer.is_symlink() and pointer.resolve() == blob.resolve()):
        return
    pointer.parent.mkdir(parents=True, exist_ok=True)
    draft = durable_files.draft_of(pointer)
    try:
        draft.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:  # a file system without links
        shutil.copyfile(blob, draft)
    draft.replace(pointer)


def _needed(listing: Listing) -> tuple[list[str], str]:
    """The names of what is needed: the small files, config.json first, and the tensors' main file.

    Raises InputError where one is missing.
    """
    main = next((name for name in tensor_files.MAIN_FILES if name in listing), "model.safetensors")
    tokens = next((name for name in weights.LISTS if name in listing), weights.LISTS[0])
    merges = ["merges.txt"] if tokens == "vocab.json" else []
    _check_there(listing, ["config.json", tokens, *merges, main])
    small = (*weights.VOCAB_FILES, POOLING_FILE)
    return ["config.json", *(name for name in small if name in listing)], main


def _check_there(listing: Listing, names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in listing]:
        lacks = tensor_files.some(missing)
        raise InputError(f"{listing.wanted}: not in a layout that is read here: lacks {lacks}")

"""Published encoders, from the hub into its local cache; bert-base-uncased into data/ as well.

The hub's own client says what there is (`HfApi.model_info`: commit, sizes, hashes) and where the
cache is; the bytes go through `fetch`, because `hf_hub_download` (2.4) throws a partial file away
when it fails, compares sizes and not hashes, and waits for ever on a server that drips.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers

from minbert.download.fetch import Expected, alone_in, fetch, http_faults, open_client
from minbert.download.retries import Fault, Patience, Tries, answered_within
from minbert.encoder import hub, tensor_files, weights
from minbert.encoder.config import EncoderConfig
from minbert.encoder.hub import Published
from minbert.encoder.pooling import POOLING_FILE
from minbert.support import durable_files
from minbert.support.console import log
from minbert.support.errors import InputError, RunError
from minbert.support.places import COURSE_ENCODER


@dataclass(frozen=True)
class _Remote:
    """A file of a published checkpoint: the name of its blob in the cache, and what it must be."""

    blob: str
    expected: Expected


def fetch_weights(wanted: Published, patience: Patience) -> str:
    """Bring a checkpoint onto this machine, whole; returns the line that says where it is.

    Raises InputError where there is no such checkpoint or it is not in BERT's layout, RunError
    where it cannot be fetched.
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
    commit, remotes = _listing(wanted, patience)
    folder_name = repo_folder_name(repo_id=wanted.name, repo_type="model")
    repository = Path(constants.HF_HUB_CACHE) / folder_name
    snapshot = repository / "snapshots" / commit
    blobs = {name: repository / "blobs" / remote.blob for name, remote in remotes.items()}
    with open_client(patience) as client:
        for name, blob in blobs.items():  # config.json first
            expected = remotes[name].expected
            if expected.holds(snapshot / name):
                log.info("%s: %s is in the local cache, its hash is right", wanted, name)
            else:
                url = hf_hub_url(wanted.name, name, revision=commit)
                fetch(client, url, blob, expected, patience, build_hf_headers())
                log.info("%s: %s fetched, its hash is right", wanted, name)
            if name == "config.json":
                _check_config(wanted, blob if blob.is_file() else snapshot / name)
    with alone_in(repository):  # no file gets its name there before all have come
        for name, blob in blobs.items():
            _point(snapshot / name, blob)
        if wanted.revision != commit:
            durable_files.write_text(repository / "refs" / wanted.revision, commit)
    return snapshot


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


def _check_config(wanted: Published, path: Path) -> None:
    try:
        EncoderConfig.from_file(path)
    except InputError as error:
        why = str(error).removeprefix(f"{path}: ")
        raise InputError(f"{wanted}: not in BERT's layout: config.json: {why}") from error


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


def _listing(wanted: Published, patience: Patience) -> tuple[str, dict[str, _Remote]]:
    """Return the commit that a revision stands for, and the files that are needed of it."""
    tries = Tries(f"{constants.ENDPOINT}: {wanted}", patience)
    while True:
        try:
            with http_faults(), answered_within(patience.answer), _hub_errors(wanted):
                info = HfApi().model_info(
                    wanted.name,
                    revision=wanted.revision,
                    files_metadata=True,
                    timeout=patience.silence,
                )
            break
        except Fault as fault:
            tries.failed(fault)
    if not re.fullmatch("[0-9a-f]{40}", info.sha or ""):
        raise RunError(f"{wanted}: the hub answered without a commit")
    if wanted.pinned and info.sha != wanted.revision:
        raise RunError(f"{wanted}: the hub answered with revision {info.sha}, not the pinned one")
    there = {file.rfilename: file for file in info.siblings or ()}
    return str(info.sha), {name: _remote(wanted, there[name]) for name in _needed(wanted, there)}


@contextlib.contextmanager
def _hub_errors(wanted: Published) -> Iterator[None]:
    try:
        yield
    except RevisionNotFoundError as error:
        raise InputError(f"{wanted}: {wanted.name} has no revision {wanted.revision}") from error
    except GatedRepoError as error:
        raise InputError(
            f"{wanted}: its owner gives access on request: accept the conditions on its page, "
            "then log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{wanted}: the hub shows no such checkpoint; a private one needs `hf auth login`"
        ) from error
    except HfHubHTTPError as error:
        code = error.response.status_code
        if code in (408, 425, 429) or code >= 500:
            raise Fault(f"the hub answered {code}") from error
        raise RunError(f"{wanted}: the hub answered {code}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Fault("the hub's answer makes no sense (a proxy or login page?)") from error


def _needed(wanted: Published, there: dict[str, RepoSibling]) -> list[str]:
    """Return the names of BERT's layout that are there. Raises InputError where one is missing."""
    formats = ("model.safetensors", "pytorch_model.bin")
    tensors = next((name for name in formats if name in there), formats[0])
    tokens = "tokenizer.json" if "tokenizer.json" in there else "vocab.txt"
    missing = [name for name in ("config.json", tokens, tensors) if name not in there]
    if missing:
        raise InputError(f"{wanted}: not in BERT's layout: lacks {', '.join(missing)}")
    small = (*weights.VOCAB_FILES, POOLING_FILE)
    return ["config.json", *(name for name in small if name in there), tensors]


def _remote(wanted: Published, file: RepoSibling) -> _Remote:
    """Return what the hub says about a file, except for the pinned hashes of bert-base-uncased."""
    blob = file.lfs.sha256 if file.lfs else file.blob_id
    size = file.lfs.size if file.lfs else file.size
    if not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", blob or "") or size is None:
        raise RunError(f"{wanted}: the hub gave no hash and size for {file.rfilename}")
    pinned = hub.BERT_SHA256.get(file.rfilename) if wanted.pinned else None
    return _Remote(str(blob), Expected(pinned or str(blob), size))

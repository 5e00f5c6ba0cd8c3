"""Files that are whole or absent, their hashes, and logs that can be cut back to a step.

A file or folder is written under a temporary name beside its place, flushed to disk, and renamed:
a reader, or a run that was killed, sees the old content or the new, never a part.
"""

import contextlib
import glob
import hashlib
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from minbert.support import untrusted
from minbert.support.errors import RunError
from minbert.support.processes import is_running, this_machine

_NEVER_ANEW: set[Path] = set()
_LONGEST_ROW = 2**20  # bytes of a log's line; ours have a few hundred


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, so that no power cut takes them back.

    A folder's name is on disk once the folder above it is flushed: until then all that lies in it
    may be gone, however well it was flushed itself.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    if vanished := _NEVER_ANEW.intersection(folder.absolute() for folder in missing):
        raise RunError(
            f"{vanished.pop()}: was moved or removed while this run worked; put it back, and the "
            "same command with --resume goes on"
        )
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        _sync(folder.parent)


@contextlib.contextmanager
def never_anew(folder: Path) -> Iterator[None]:
    """Within the block no writing makes `folder` again, should somebody move or remove it.

    What is written would be a part that looks whole: the rest lies where the folder went. Writing
    raises RunError then.
    """
    _NEVER_ANEW.add(folder.absolute())
    try:
        yield
    finally:
        _NEVER_ANEW.discard(folder.absolute())


def draft_of(path: Path) -> Path:
    """A temporary sibling under which `path` is written: a new name at every call.

    It names the machine and the process: two machines, or containers, that share a folder may give
    their processes the same number.
    """
    machine = zlib.crc32(this_machine().encode())
    mark = f"{secrets.token_hex(4)}.{machine:08x}.{os.getpid()}"
    return path.with_name(f".{path.name}.{mark}.tmp")


def put_in_place(draft: Path, path: Path) -> None:
    """Flush `draft`, a file in the same folder, and give it `path`'s place in one rename."""
    _sync(draft)
    draft.replace(path)
    _sync(path.parent)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary sibling to write; on success it takes the place of `path` in one rename."""
    with replacing_all([path]) as drafts:
        yield drafts[path]


@contextlib.contextmanager
def replacing_all(paths: Iterable[Path]) -> Iterator[dict[Path, Path]]:
    """Give temporary siblings to write; on success they take their files' places, in order.

    No file takes its place before all are on disk: a full disk leaves the old files. Several old
    files are all removed before the first new one takes its place, so that old and new never stand
    side by side: of a process that is killed at that moment some files are missing. Drafts of these
    files that a killed process left are removed.
    """
    drafts = {path: draft_of(path) for path in paths}
    for path in drafts:
        make_folder(path.parent)
        remove_dead_drafts(path)
    try:
        yield drafts
        for draft in drafts.values():
            _sync(draft)
        if len(drafts) > 1:
            _remove(drafts)
        for path, draft in drafts.items():
            put_in_place(draft, path)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        _sync(folder)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a draft folder to fill; on success it appears in one rename at `path`, which is new."""
    make_folder(path.parent)
    remove_dead_drafts(path)
    draft = draft_of(path)
    draft.mkdir()
    try:
        yield draft
        for path_within in sorted(draft.rglob("*"), reverse=True):
            _sync(path_within)
        _sync(draft)
        draft.rename(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def make_once(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` make a folder, whose name tells its content, unless it exists already.

    If several processes make it at once, the first one's folder stays.
    """
    if path.exists():
        return
    try:
        with new_folder(path) as draft:
            fill(draft)
    except OSError:
        if not path.exists():
            raise


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically: UTF-8, and line ends as they stand in `text`."""
    write_texts({path: text})


def write_texts(texts: Mapping[Path, str]) -> None:
    """Replace several text files, none before all are on disk: a full disk leaves the old files."""
    with replacing_all(texts) as drafts:
        for path, draft in drafts.items():
            draft.write_text(texts[path], encoding="utf-8", newline="\n")


def remove_dead_drafts(path: Path) -> None:
    """Remove drafts of `path` whose process, on this machine, was killed while it wrote."""
    ours = draft_of(path).name.split(".")[-3]
    for draft in path.parent.glob(f".{glob.escape(path.name)}.*.{ours}.*.tmp"):
        process = draft.name.split(".")[-2]
        if not process.isdecimal() or is_running(int(process)):
            continue
        if draft.is_dir():
            shutil.rmtree(draft)
        else:
            draft.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise OSError now where `path` could not be written later; leaves no folder behind."""
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        make_folder(path.parent)
        remove_dead_drafts(path)
        draft = draft_of(path)
        draft.touch()
        draft.unlink()
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # another process may use it already
                folder.rmdir()


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file with the umask's rights. Raises OSError, say on a full disk."""
    try:
        save_file(dict(tensors), path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(f"{path}: cannot be written ({error})") from error
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def json_text(value: Any) -> str:
    """A JSON file's text. Raises ValueError for NaN, which has no JSON spelling."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically. NaN is refused."""
    write_text(path, json_text(value))


def _is_before(line: bytes, step: int) -> bool:
    """Whether a line is a whole row of an earlier step."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        # a row without its line feed is torn, even if it happens to parse
        return line.endswith(b"\n") and bool(untrusted.parsed(line, finite=False)["step"] < step)
    return False


class JsonLines:
    """A log of one JSON object a line, flushed as it grows."""

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self.path = path
        self._stream = path.open("a", encoding="utf-8")

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows; the file is readable up to the last whole line at any moment."""
        self._stream.writelines(json.dumps(row) + "\n" for row in rows)
        self._stream.flush()

    def sync(self) -> None:
        """Flush what was written to disk: a power cut takes what comes after it, and no more."""
        if self.path.is_file():  # os.devnull has no disk
            os.fsync(self._stream.fileno())

    def cut_before(self, step: int) -> None:
        """Drop the rows of `step` and later, and a last line that a kill cut short."""
        self._stream.close()
        with replacing(self.path) as draft, draft.open("wb") as kept, self.path.open("rb") as log:
            while line := log.readline(_LONGEST_ROW):
                if len(line) == _LONGEST_ROW:  # no row of ours is: what follows is no log
                    break
                if _is_before(line, step):
                    kept.write(line)
        self._stream = self.path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

"""The files of a submission, opened without trust.

Nothing is extracted, followed or executed. Links are not followed, names that point outside are
not read, and every amount is bounded: the files a submission may have, the bytes of one file, the
bytes an archive's list of names may take, and what a compressed byte may become. Only stored and
deflated members are read: zipfile bounds their output, which for bzip2 and LZMA it does not.
"""

import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO

from minbert.grade.problems import Problems, readable

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".rar", ".7z")  # the first is opened
FILES = 5_000  # of a submission
FILE_BYTES = 2**24
BLOCK = 2**16
_NAMES_BYTES = 2**21  # an archive's list of its members
_SKIPPED = {"__MACOSX", "__pycache__"}

# what zipfile and zlib raise over hostile bytes
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)


class Unreadable(Exception):
    """The reason why a file, or a whole submission, is not read, and what to do about it."""


@dataclass(frozen=True)
class Member:
    """A regular file of a submission: its name, with `/` between folders, and how to open it."""

    name: str
    open: Callable[[], IO[bytes]]

    def blocks(self) -> Generator[bytes, None, None]:
        """Yield the file's bytes in blocks. Raises Unreadable where it is damaged or too large."""
        total = 0
        try:
            with self.open() as stream:
                while block := stream.read(BLOCK):
                    total += len(block)
                    if total > FILE_BYTES:
                        raise Unreadable(f"more than {FILE_BYTES >> 20} MB: no prediction file is")
                    yield block
        except _DAMAGE as error:
            raise Unreadable(f"cannot be read ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return readable((error.strerror if isinstance(error, OSError) else None) or str(error))


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raises OSError for a link, pipe or device, at once."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    handle = os.open(path, flags | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError("not a regular file")
    return os.fdopen(handle, "rb")


def is_hidden(name: str) -> bool:
    """Return whether systems put such a file beside those of the user (`.git`, `__MACOSX`)."""
    return name.startswith(".") or name in _SKIPPED


def is_archive(path: Path) -> bool:
    """Return whether a file on disk is an archive, by its name or its first bytes."""
    if path.name.lower().endswith(ARCHIVES):
        return True
    try:
        with open_regular(path.resolve()) as stream:
            return stream.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def in_folder(root: Path, problems: Problems) -> list[Member]:
    """Return the regular files below a folder, sorted. Links and special files are problems.

    Raises Unreadable where there are too many files, or a folder cannot be listed.
    """
    members: list[Member] = []
    try:
        for number, entry in enumerate(_entries(root), start=1):
            name = Path(entry.path).relative_to(root).as_posix()
            if number > FILES:
                raise Unreadable(_too_many())
            if entry.is_file(follow_symlinks=False):
                members.append(on_disk(Path(entry.path), name))
            elif not entry.is_dir(follow_symlinks=False):
                problems.add("link", _special(name, is_link=entry.is_symlink()))
    except OSError as error:
        raise Unreadable(f"cannot be listed ({_reason(error)})") from error
    return sorted(members, key=lambda member: member.name)


def _entries(root: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what lies below a folder: files and folders, but for hidden ones and their content."""
    waiting = [root]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if not is_hidden(entry.name):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    yield entry


def on_disk(path: Path, name: str) -> Member:
    """Return a file on disk under the name it has in the submission."""
    return Member(name, partial(open_regular, path))


def _special(name: str, *, is_link: bool) -> str:
    kind = "a link" if is_link else "no regular file"
    return f"{readable(name)} is {kind} and not read: put the file itself there"


def _too_many() -> str:
    return f"more than {FILES:,} files: hand in only what is asked for"


@contextmanager
def in_archive(path: Path, problems: Problems) -> Iterator[list[Member]]:
    """Give the files of a zip while it is open. Members that are not read are problems.

    Raises Unreadable where it is no zip, is damaged or has too many files.
    """
    with ExitStack() as opened:
        try:
            stream = opened.enter_context(_Bounded(open_regular(path)))
            archive = opened.enter_context(zipfile.ZipFile(stream))
        except _DAMAGE as error:
            raise Unreadable(f"not a zip that can be read ({_reason(error)})") from error
        yield _members(archive, problems)


class _Bounded(io.BufferedReader):
    """An archive's file that refuses large reads, for zipfile reads all names in one."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)  # type: ignore[arg-type]  # any raw or buffered stream will do
        self._size = os.fstat(stream.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        rest = self._size - self.tell()
        wanted = rest if size is None or size < 0 else min(size, rest)
        if wanted > _NAMES_BYTES:
            raise zipfile.BadZipFile(_too_many())
        return super().read(size)


def _members(archive: zipfile.ZipFile, problems: Problems) -> list[Member]:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > FILES:
        raise Unreadable(_too_many())
    members = []
    for entry in entries:
        name = entry.filename.replace("\\", "/")
        if refused := _refusal(entry, name):
            problems.add(*refused)
        elif not any(map(is_hidden, name.split("/"))):
            members.append(Member(name, partial(archive.open, entry)))
    return sorted(members, key=lambda member: member.name)


def _refusal(entry: zipfile.ZipInfo, name: str) -> tuple[str, str] | None:
    """Return the kind of problem of a member that is not read, and what to do about it."""
    shown = readable(name)
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in name.split("/"):
        return "path", f"{shown} points outside the archive and is not read: zip it anew"
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "link", _special(name, is_link=stat.S_ISLNK(mode))
    if entry.flag_bits & 1:
        return "method", f"{shown} is encrypted: zip it without a password"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "method", f"{shown} is compressed in a way that is not read: zip it the usual way"
    return None

"""Text files to pretrain on: one sentence a line, a blank line between documents.

Files may be plain, `.gz` or `.xz`; they are read as a stream, so they may be larger than memory.
The course's tables are read too, under any ending; each of their texts is a document.
"""

import gzip
import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from minbert.pretrain import table
from minbert.support import durable_files
from minbert.support.console import ProgressBar, log
from minbert.support.errors import InputError
from minbert.tasks.task import Task

Document = list[str]  # its sentences, none of them empty
_OPENERS: Mapping[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
_MEGABYTE = 2**20
_HEAD = 2**16  # bytes that show whether a file is text
_LONGEST = 1_000_000  # characters; a longer document, say a file without blank lines, is cut
_LONGEST_LINE = 4 * _LONGEST  # bytes


def read_documents(paths: Sequence[Path], title: str) -> Iterator[Document]:
    """The documents of all files, in order, under a progress bar of megabytes as stored.

    Lines that are not UTF-8 are left out, counted and reported. Raises InputError for a file that
    cannot be read or is damaged.
    """
    total = sum(path.stat().st_size for path in paths) // _MEGABYTE
    with ProgressBar(total, title, "MB") as bar:
        for path in paths:
            task = _table(path)
            yield from _documents(_lines(path, bar)) if task is None else _rows(path, task)


def check_files(paths: Sequence[Path], *, pairs: bool = False) -> None:
    """Raise InputError for a file that does not exist, is named twice, or would be misread.

    With `pairs`, texts must have a next sentence, which those of a table have not.
    """
    for path in paths:
        if not path.is_file():
            raise InputError(f"--text {path}: no such file")
        if path.suffix not in _OPENERS and not _is_text(path):
            raise InputError(f"--text {path}: is no UTF-8 text, but holds zero bytes")
        task = _table(path)
        if path.suffix in _OPENERS:
            table.check_unpacked(path, task)
        if pairs and task is not None:
            raise InputError(f"--text {path}: its texts have no next sentence: take --no_nsp")
    resolved = [path.resolve() for path in paths]
    for index, path in enumerate(resolved):
        if path in resolved[:index]:
            raise InputError(f"--text {paths[index]}: stands there twice")


def _is_text(path: Path) -> bool:
    """Whether a file begins as UTF-8 text does: better known now than after 40 GB were hashed."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError as error:
        raise InputError(f"--text {path}: cannot be read ({error.strerror})") from error
    return head.count(0) <= len(head) // 10


def fingerprint(path: Path) -> tuple[str, str]:
    """What decides a file's documents: the SHA-256 of its bytes, and the way it is read."""
    kind = path.suffix if path.suffix in _OPENERS else ""
    is_table = table.is_named_table(path) or _table(path) is not None
    return durable_files.sha256_of(path), ".csv" if is_table else kind


def is_held_out(document: Document, share: float) -> bool:
    """Whether a document is kept from training: by a hash of its text, whatever file it is in."""
    digest = hashlib.sha256("\n".join(document).encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _lines(path: Path, bar: ProgressBar) -> Iterator[str]:
    """Lines without their ends, bad ones left out; the bar follows what was read of `path`.

    A line longer than a document may be comes in parts.
    """
    shown, bad, parted = 0, [], []
    try:
        with path.open("rb") as raw:
            unpacked = _OPENERS[path.suffix](raw) if path.suffix in _OPENERS else raw
            for number, line, whole in _parts(path, unpacked):
                try:
                    yield line.decode("utf-8").strip()
                except UnicodeDecodeError:
                    bad.append(number)
                if not whole:
                    parted.append(number)
                if (number % 1000 == 0 or not whole) and raw.tell() // _MEGABYTE > shown:
                    bar.update(raw.tell() // _MEGABYTE - shown)
                    shown = raw.tell() // _MEGABYTE
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"--text {path}: cannot be read ({error})") from error
    bar.update(path.stat().st_size // _MEGABYTE - shown)
    if bad:
        what = "%s: %d lines left out, not UTF-8, the first at line %d"
        log.warning(what, path, len(set(bad)), bad[0])
    if parted:
        what = "%s: %d lines of more than %d bytes read in parts, the first at line %d"
        log.warning(what, path, len(set(parted)), _LONGEST_LINE, parted[0])


def _parts(path: Path, stream: BinaryIO) -> Iterator[tuple[int, bytes, bool]]:
    """Numbered lines, whole or, if they are too long, in parts that end between words.

    Raises InputError for a long line with the bytes of no text, say the holes of a sparse file.
    """
    number, held = 1, b""
    while more := stream.readline(_LONGEST_LINE):
        held += more
        if more.endswith(b"\n"):
            yield number, held, True
            number, held = number + 1, b""
        elif len(held) >= _LONGEST_LINE:
            if b"\0" in held:
                raise InputError(f"--text {path}: line {number} is no text, but holds zero bytes")
            end = held.rfind(b" ") + 1 or _last_letter(held)
            yield number, held[:end], False
            held = held[end:]
    if held:
        yield number, held, True


def _last_letter(text: bytes) -> int:
    """Where the last letter of UTF-8 text begins, which may be cut off: at most 4 bytes back."""
    starts = (i for i in range(len(text) - 1, len(text) - 5, -1) if text[i] & 0xC0 != 0x80)
    return next(starts, len(text))


def _table(path: Path) -> Task | None:
    return table.table_of(path, _OPENERS.get(path.suffix, partial(Path.open, mode="rb")))


def _rows(path: Path, task: Task) -> Iterator[Document]:
    """The texts of a table, each a document."""
    yield from ([text] for text in table.sentences(path, task))


def _documents(lines: Iterable[str]) -> Iterator[Document]:
    sentences: Document = []
    size = 0
    for line in lines:
        if sentences and (not line or size + len(line) > _LONGEST):
            yield sentences
            sentences, size = [], 0
        if line:
            sentences.append(line)
            size += len(line)
    if sentences:
        yield sentences

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
from typing import Any

from minbert.pretrain import table
from minbert.support import durable_files
from minbert.support.console import ProgressBar, log
from minbert.support.errors import InputError
from minbert.tasks.task import Task

Document = list[str]  # its sentences, none of them empty
_OPENERS: Mapping[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
_MEGABYTE = 2**20
_LONGEST = 1_000_000  # characters; a longer document, say a file without blank lines, is cut


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
        task = _table(path)
        if path.suffix in _OPENERS:
            table.check_unpacked(path, task)
        if pairs and task is not None:
            raise InputError(f"--text {path}: its texts have no next sentence: take --no_nsp")
    resolved = [path.resolve() for path in paths]
    for index, path in enumerate(resolved):
        if path in resolved[:index]:
            raise InputError(f"--text {paths[index]}: stands there twice")


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
    """Lines without their ends, bad ones left out; the bar follows what was read of `path`."""
    shown, bad = 0, []
    try:
        with path.open("rb") as raw:
            unpacked = _OPENERS[path.suffix](raw) if path.suffix in _OPENERS else raw
            for number, line in enumerate(unpacked, 1):
                try:
                    yield line.decode("utf-8").strip()
                except UnicodeDecodeError:
                    bad.append(number)
                if number % 1000 == 0 and raw.tell() // _MEGABYTE > shown:
                    bar.update(raw.tell() // _MEGABYTE - shown)
                    shown = raw.tell() // _MEGABYTE
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"--text {path}: cannot be read ({error})") from error
    bar.update(path.stat().st_size // _MEGABYTE - shown)
    if bad:
        what = "%s: %d lines left out, not UTF-8, the first at line %d"
        log.warning(what, path, len(bad), bad[0])


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

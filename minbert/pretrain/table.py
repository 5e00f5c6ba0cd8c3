"""Tables among the texts to pretrain on: known by their header, whatever the file's ending.

Of a table only the sentences are text. Its ids and labels are none, so a table whose column of
sentences is not known is refused.
"""

import contextlib
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from minbert.data.reading import read_split
from minbert.support.errors import InputError
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Task

_ENDINGS = (".csv", ".tsv")
_SNIFFED = 2**16  # bytes
_LONGEST_NAME = 40  # characters of a column
_NO_TEXT = {"id", "index", "label", *(task.label_column for task in TASKS.values())}


def table_of(path: Path, open_file: Callable[[Path], IO[bytes]]) -> Task | None:
    """Return the task whose columns of sentences a file's header names; None for plain text.

    Raises InputError for a table without such columns. A file that cannot be read is no table:
    whoever reads it says what is wrong.
    """
    block = b""
    with (
        contextlib.suppress(OSError, EOFError, lzma.LZMAError, zlib.error),
        open_file(path) as file,
    ):
        block = file.read(_SNIFFED)
    line = next(filter(bytes.strip, block.removeprefix(b"\xef\xbb\xbf").split(b"\n")), b"")
    text = line.decode("utf-8", errors="replace")
    for mark in "\t,;":
        names = {cell.strip().strip('"').strip() for cell in text.split(mark)}
        kinds = [task for task in TASKS.values() if set(task.text_columns) < names]
        if kinds:
            return kinds[0]
    if is_named_table(path) or _is_header(text.split("\t")):
        known = " or ".join({", ".join(task.text_columns): None for task in TASKS.values()})
        raise InputError(f"--text {path}: a table without a column of sentences ({known})")
    return None


def check_unpacked(path: Path, task: Task | None) -> None:
    """Raise InputError for a table in a compressed file."""
    if task is not None or is_named_table(path.with_suffix("")):
        raise InputError(f"--text {path}: a packed table is not read; unpack it first")


def sentences(path: Path, task: Task) -> Iterator[str]:
    """Yield the texts of a table, each on one line. Bad rows are reported as in the main job."""
    for example in read_split(task, "test", path).examples:  # whatever its label
        yield from (_one_line(text) for text in example.texts if text.strip())


def _one_line(text: str) -> str:
    return re.sub(r"\s*[\r\n]\s*", " ", text.strip())


def is_named_table(path: Path) -> bool:
    """Whether a file's ending says that it is a table."""
    return path.suffix.lower() in _ENDINGS


def _is_header(cells: list[str]) -> bool:
    """Whether cells name columns, among them one of ids or labels."""
    words = {word for cell in cells for word in re.findall(r"[a-z_]+", cell.lower())}
    is_short = all(len(cell) <= _LONGEST_NAME for cell in cells)
    return len(cells) > 1 and is_short and not words.isdisjoint(_NO_TEXT)

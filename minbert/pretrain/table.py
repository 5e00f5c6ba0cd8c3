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
_NO_TEXT = {
    *("id", "idx", "index", "uid", "guid", "qid", "pairid", "label", "labels", "gold_label"),
    *("class", "category", "target", "score", "rating", "stars", "polarity", "split"),
    *(task.label_column for task in TASKS.values()),
}
_NAME = re.compile(r'"?[\w-]+"?')  # of a column: after a comma in prose there is a blank


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
    if _is_json(text):
        raise InputError(f"--text {path}: JSON objects are no text; write one sentence a line")
    if is_named_table(path) or _is_header(text):
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


def _is_header(line: str) -> bool:
    """Whether a line names columns, among them one of ids or labels."""
    cells = line.strip("\r").split("\t")
    words = {word for cell in cells for word in re.findall(r"[a-z_]+", cell.lower())}
    is_short = all(len(cell) <= _LONGEST_NAME for cell in cells)
    if len(cells) > 1 and is_short and not words.isdisjoint(_NO_TEXT):
        return True
    others = (line.rstrip("\r").split(mark) for mark in ",;|")
    return any(len(names) > 1 and _are_names(names) for names in others)


def _are_names(cells: list[str]) -> bool:
    words = {cell.strip('"').lower() for cell in cells}
    return all(map(_NAME.fullmatch, cells)) and not words.isdisjoint(_NO_TEXT)


def _is_json(line: str) -> bool:
    """Whether a line is a JSON object, or the beginning of one or of a list of them."""
    return re.match(r'\s*(\[\s*$|\[?\s*\{\s*("(?:[^"\\]|\\.)*"\s*:|$))', line) is not None

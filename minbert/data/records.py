"""Records of a delimited file, each of them one line or, with a quoted cell, several lines.

Quotes mean what they mean to Python's csv: a cell that begins with a quotation mark ends at the
next one that stands alone, line ends and all. A quote that never closes so makes no record: its
line stays a line, and so do all lines below it.
"""

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from minbert.support.errors import InputError

Line = tuple[int, bytes]  # its number, and its bytes with or without the line end
_LONGEST = 2**25  # bytes of a line: two texts that csv would still take
csv.field_size_limit(2**24)  # a text of 16 MB is a mistake, one of 200 kB is a long review


class RecordError(Exception):
    """A record that cannot be split into fields; the message says why."""


def lines_of(path: Path) -> Iterator[Line]:
    """The lines of a file. Raises InputError where it cannot be read, or holds no lines of text."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    with stream:
        for number, line in enumerate(iter(partial(stream.readline, _LONGEST), b""), start=1):
            if len(line) == _LONGEST:
                most = f"longer than {_LONGEST >> 20} MB"
                raise InputError(f"{path}: line {number} is {most}: is this a table of texts?")
            yield number, line


def fields_of(record: bytes, *, quotes: bool) -> list[str]:
    """The tab-separated fields of a record in UTF-8. Raises RecordError."""
    try:
        text = record.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordError(f"invalid UTF-8 at byte {error.start + 1}") from error
    if not quotes:
        return text.split("\t")
    try:
        return next(csv.reader([text], delimiter="\t", strict=True))
    except csv.Error as error:
        raise RecordError(f"broken quoting ({error})") from error


class _Lines(Iterator[Line]):
    """Lines that can be given back."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines, self._returned = iter(lines), deque[Line]()

    def __next__(self) -> Line:
        return self._returned.popleft() if self._returned else next(self._lines)

    def give_back(self, lines: list[Line]) -> None:
        self._returned.extendleft(reversed(lines))


def whole_records(
    lines: Iterable[Line], delimiter: bytes, is_row: Callable[[bytes], bool]
) -> Iterator[Line]:
    """Join the lines of each record, under the number of the first.

    Where the first and the last line are whole rows by themselves (`is_row`), a stray quotation
    mark has met another one below, and all lines stay apart.
    """
    source = _Lines(lines)
    open_until = 0  # lines before this one lie in a quote that does not close
    for number, line in source:
        taken = [(number, line)]
        if b'"' in line and number >= open_until:
            closes = _take_record(taken, source, delimiter)
            if not closes or (is_row(line) and is_row(taken[-1][1])):
                open_until = 0 if closes else taken[-1][0]
                source.give_back(taken[1:])
                del taken[1:]
        yield number, b"".join(row for _, row in taken)


def _take_record(taken: list[Line], source: Iterator[Line], delimiter: bytes) -> bool:
    """Add to the first line, in `taken`, the lines that its open quote runs over.

    Return whether the quote closes in the end, as csv has it.
    """

    def feed() -> Iterator[str]:
        yield taken[0][1].decode("latin-1")
        for number, line in source:
            taken.append((number, line))
            yield line.decode("latin-1")

    try:
        next(csv.reader(feed(), delimiter=delimiter.decode("latin-1"), strict=True))
    except csv.Error:
        return False
    return True

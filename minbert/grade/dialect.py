"""The dialect of a prediction file: what stands between, around and beside its cells.

The header names the columns and shows the delimiter. How the rows are laid out is then decided by
the ids: the layout that finds the most known ids in the first rows holds for the file. So a header
with a tab may stand over rows with commas, as in the course's starter, and an index column, quotes
around cells, or commas in numbers are no riddle.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from minbert.grade.recognise import tasks_of
from minbert.tasks.labels import plain_number

_DELIMITERS = (b"\t", b",", b";", b"|", b" ")
BOM = b"\xef\xbb\xbf"
_LONGEST_HEADER = 4096  # bytes
_LARGEST = 1e100  # its square and the sum of many are still numbers


def is_number(value: bytes) -> bool:
    """Return whether a cell is a number that can be scored."""
    try:
        return abs(plain_number(value.decode("ascii"))) < _LARGEST
    except ValueError:
        return False


def cells_of(line: bytes, delimiter: bytes, splits: int = -1) -> list[bytes]:
    """Split a line at a delimiter outside quotes; take blanks and quotes from around the cells.

    A line in which quotes mean nothing is split at its last `splits` delimiters, by default at all.
    """
    if b'"' not in line:
        return [cell.strip() for cell in line.rsplit(delimiter, splits)]
    mark = delimiter.decode("latin-1")
    try:
        rows = csv.reader(
            [line.decode("latin-1")], delimiter=mark, skipinitialspace=True, strict=True
        )
        return [cell.strip().encode("latin-1") for cell in next(rows)]
    except csv.Error:  # blanks after a quoted cell, or a mark that is no quote
        return [_bare(cell.strip()) for cell in line.rsplit(delimiter, splits)]


def _bare(cell: bytes) -> bytes:
    is_quoted = len(cell) > 1 and cell.startswith(b'"') and cell.endswith(b'"')
    return cell[1:-1].replace(b'""', b'"').strip() if is_quoted else cell


@dataclass(frozen=True)
class Header:
    """A prediction file's header, and where in it the id and the prediction stand."""

    delimiter: bytes
    cells: tuple[bytes, ...]
    id_at: int
    value_at: int

    @property
    def column(self) -> bytes:
        """The name of the predictions' column."""
        return self.cells[self.value_at]

    @property
    def others(self) -> list[bytes]:
        """The names of the columns that are passed over."""
        return [c for at, c in enumerate(self.cells) if at not in (self.id_at, self.value_at)]

    @property
    def line(self) -> bytes:
        """The header as a line."""
        return self.delimiter.join(self.cells)

    def is_row(self, line: bytes) -> bool:
        """Whether a line is a whole row, if quotation marks mean nothing."""
        cells = line.split(self.delimiter)
        return len(cells) == len(self.cells) and is_number(cells[self.value_at].strip())


def header_of(line: bytes) -> Header | None:
    """Return the header that a line is, with a known or an unknown column of predictions."""
    for delimiter in _DELIMITERS if len(line) < _LONGEST_HEADER else ():
        cells = tuple(cells_of(line.removeprefix(BOM), delimiter))
        small = [cell.lower() for cell in cells]
        values = [at for at, cell in enumerate(small) if cell.startswith(b"predicted_")]
        if values and b"id" in small:
            chosen = next((at for at in values if tasks_of(cells[at])), values[0])
            return Header(delimiter, cells, small.index(b"id"), chosen)
    return None


@dataclass(frozen=True)
class Layout:
    """Where a row has its id and its prediction.

    Without a `width` the prediction is the last cell and the id is all before it, delimiters
    included. A prediction of two cells has a decimal comma between them.
    """

    delimiter: bytes
    width: int | None = None  # cells of a row
    id_at: int = 0
    value_at: int = 1
    value_cells: int = 1

    def row(self, line: bytes) -> tuple[bytes, bytes] | None:
        """Return a row's id and prediction, or None for a line that is laid out otherwise."""
        n = self.value_cells
        cells = cells_of(line, self.delimiter, self.width or n)
        if self.width is None:
            name, value = self.delimiter.join(cells[:-n]), b".".join(cells[-n:])
        elif len(cells) == self.width:
            name, value = cells[self.id_at], b".".join(cells[self.value_at : self.value_at + n])
        else:
            return None
        return (name, value) if len(cells) > n and (n == 1 or is_number(value)) else None


@dataclass(frozen=True)
class Dialect:
    """How a file is read: its header if it has one, its rows' layout, its decimal mark."""

    header: Header | None
    layout: Layout
    decimal_comma: bool = False

    @property
    def width(self) -> int:
        """The cells that a row should have."""
        return self.layout.width or (len(self.header.cells) if self.header else 2)

    def row(self, line: bytes, known: Callable[[bytes], bool]) -> tuple[bytes, bytes] | None:
        """Return a row's id and prediction: by the layout, or as a pair where its id is known."""
        found = self.layout.row(line)
        if found is None or not known(found[0]):
            pairs = (pair.row(line) for pair in _pairs(self.layout.delimiter))
            split = [pair for pair in pairs if pair]
            found = next((p for p in split if known(p[0])), found or (split[0] if split else None))
        return found and (found[0], self._pointed(found[1]))

    @property
    def has_decimal_commas(self) -> bool:
        """Whether numbers are written as `4,25`."""
        return self.decimal_comma or self.layout.value_cells > 1

    def _pointed(self, value: bytes) -> bytes:
        return value.replace(b",", b".", 1) if self.decimal_comma else value

    def splits(self, line: bytes) -> bool:
        """Return whether a line has the cells of a row."""
        marks = (self.layout.delimiter, b",", b"\t")
        return any(len(cells_of(line, mark, self.width)) == self.width for mark in marks)


def settle(header: Header | None, rows: Sequence[bytes], known: Callable[[bytes], bool]) -> Dialect:
    """Return the dialect of the first rows. `known` says of an id whether any data file has it."""
    best, most = Layout(header.delimiter if header else b","), (0, 0)
    for layout in _layouts(header):
        found = [pair for pair in map(layout.row, rows) if pair]
        count = sum(known(name) for name, _ in found), sum(is_number(value) for _, value in found)
        if count > most:
            best, most = layout, count
        if count[0] == len(rows):
            break
    values = [pair[1] for pair in map(best.row, rows) if pair]
    commas = sum(re.fullmatch(rb"[+-]?\d*,\d+", value) is not None for value in values)
    return Dialect(header, best, decimal_comma=2 * commas >= max(1, len(values)))


def _pairs(delimiter: bytes) -> Iterator[Layout]:
    return map(Layout, dict.fromkeys((delimiter, b",", b"\t", b";")))


def _layouts(header: Header | None) -> Iterator[Layout]:
    """Yield the layouts that rows may have, the likeliest first."""
    if header is None:
        yield from _pairs(b",")
        yield Layout(b",", value_cells=2)
        return
    width, at, value = len(header.cells), header.id_at, header.value_at
    marks = [pair.delimiter for pair in _pairs(header.delimiter)]
    if width == 2 and at < value:
        yield from map(Layout, marks)
        yield Layout(b",", value_cells=2)
    for mark in marks:
        yield Layout(mark, width, at, value)
        if at < value:
            yield Layout(mark, width + 1, at + 1, value + 1)  # row names, which R gives no header
    for names in (0, 1):
        moved = at + names + (at > value)
        yield Layout(b",", width + names + 1, moved, value + names, value_cells=2)

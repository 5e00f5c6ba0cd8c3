"""Read one prediction file against the gold's ids, as a stream, and name every defect.

All forms that the course has had are read: tabs or commas, blanks around them, the historical
spellings of the columns, `3` or `3.0`, LF or CRLF, a byte order mark, blank lines, any order of
rows. `_PredictionReader.read` takes the common spelling of a row at once, and looks closely only
at the other rows.
"""

import math
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from minbert.grade.gold import Gold, Part
from minbert.grade.members import Member, Unreadable
from minbert.grade.problems import Problem, Problems, quoted, readable
from minbert.grade.recognise import (
    COLUMNS,
    Role,
    cells,
    claimed,
    first_lines,
    header_column,
    part_of,
)
from minbert.tasks.labels import plain_number
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Array, Task

LINE_BYTES = 2**16
LINES = 200_000  # five times the largest of the course
BAD_ROWS = 100_000  # then a file is not read on
_NAMED = 5  # missing ids
_BOM = b"\xef\xbb\xbf"
_LARGEST = 1e100  # its square and the sum of many are still numbers


@dataclass(frozen=True)
class Sheet:
    """The predictions of a file that is about one part of the gold."""

    file: str
    part: Part
    option: str | None  # of a single-task file, by its name
    values: Array  # (rows of the part,), NaN where there is no prediction
    well_named: bool


@dataclass(frozen=True)
class FileReport:
    """The problems of a prediction file, and its sheet: None if useless or about no part known."""

    file: str
    sheet: Sheet | None
    problems: list[Problem]


def read_sheet(member: Member, gold: Gold, *, expected: bool) -> FileReport | None:
    """Read a member's predictions and their problems. Return None for a file of another kind.

    A file has predictions if its header, first row or name says so, or the caller (`expected`).
    """
    problems, role = Problems(readable(member.name)), claimed(member.name)
    promised = expected or role is not None
    try:
        blocks = member.blocks()
        first = next(blocks, b"")
        if not promised and not _is_predictions(first, gold):
            return None
        promised = True
        sheet = _read(first, blocks, role, gold, problems)
        return FileReport(problems.file, sheet, problems.listed())
    except Unreadable as error:
        if not promised:
            return None
        useless = Problem(problems.file, None, str(error), "file")
        return FileReport(problems.file, None, [useless])


def _is_predictions(block: bytes, gold: Gold) -> bool:
    """Return whether a file's first block begins with a header, or with a row of predictions."""
    lines = first_lines(block)
    if not lines:
        return False
    if header_column(lines[0]) is not None:
        return True
    name, value = cells(lines[0])
    return any(name in rows for rows in gold.ids.values()) and _is_number(value)


def _read(
    first: bytes, blocks: Iterator[bytes], role: Role | None, gold: Gold, problems: Problems
) -> Sheet | None:
    _check_text(first)
    lines = first_lines(first)
    if not lines:
        raise Unreadable("empty: no header, no rows")
    column = header_column(lines[0])
    part = part_of(lines, column, role, gold.ids)
    if part is None:
        _check_known(lines, column, role.part if role else None, gold)
        return None
    reader = _PredictionReader(part, gold, problems)
    reader.read(_without_header(_numbered(chain([first], blocks)), part, gold, problems))
    reader.check()
    well_named = role is None or role.part == part
    if role is not None and not well_named:
        say = f"named as {role.part}, but its ids are {part}'s: rename it, or write it anew"
        problems.add("name", say)
    return Sheet(problems.file, part, role.option if role else None, reader.values, well_named)


def _check_text(block: bytes) -> None:
    if block.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable("UTF-16 text: save it as UTF-8")
    if b"\0" in block:
        raise Unreadable("binary, no text: predictions are lines of `id , prediction`")
    if b"\r" in block and b"\n" not in block:
        raise Unreadable("its lines end in CR alone: save it with LF or CRLF")


def _check_known(lines: list[bytes], column: bytes | None, part: Part | None, gold: Gold) -> None:
    """Raise Unreadable unless the file may be about a part that the gold has no ids of."""
    trained = next(filter(None, (gold.train_part(cells(line)[0]) for line in lines)), None)
    if trained is not None:
        raise Unreadable(f"its ids are {trained}'s: predict the dev and the test file")
    if part is not None and part not in gold.ids:
        return
    tasks = {part.task} if part else COLUMNS.get(column or b"", set())
    splits = (part.split,) if part else ("dev", "test")
    if tasks and any(Part(task, split) not in gold.ids for task in tasks for split in splits):
        return
    if column is None:
        raise Unreadable(f"no predictions: it begins {quoted(lines[0])}, not with a header")
    raise Unreadable("none of its ids is in the gold files: was it written from other data?")


def _numbered(blocks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Number the lines. Raises Unreadable for lines too long or too many, and for binary data."""
    rest, number = b"", 0
    for block in blocks:
        if b"\0" in block:
            raise Unreadable(f"binary data after line {number}")
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        for line in lines:
            number += 1
            yield number, line
        if number > LINES:
            raise Unreadable(f"more than {LINES:,} lines: no prediction file is that long")
        if len(rest) > LINE_BYTES:
            raise Unreadable(f"line {number + 1} is longer than {LINE_BYTES >> 10} kB")
    if rest:
        yield number + 1, rest


def _without_header(
    lines: Iterator[tuple[int, bytes]], part: Part, gold: Gold, problems: Problems
) -> Iterator[tuple[int, bytes]]:
    """Check the header and yield the lines below it, or all lines where there is no header."""
    stripped = ((number, line.removeprefix(_BOM).strip()) for number, line in lines)
    number, line = next(pair for pair in stripped if pair[1])
    column = header_column(line)
    expected = f"expected id <tab> {TASKS[part.task].prediction_column}"
    if column is None and cells(line)[0] in gold.ids[part]:
        problems.add("header", f"no header; {expected}", number)
        yield number, line
    elif column is None or part.task not in COLUMNS.get(column, ()):
        problems.add("header", f"header {quoted(line)} in a file of {part}; {expected}", number)
    yield from lines


class _PredictionReader:
    """The predictions of one part, taken line by line."""

    def __init__(self, part: Part, gold: Gold, problems: Problems) -> None:
        self._part, self._gold, self._problems = part, gold, problems
        self._rows, self._task = gold.ids[part], TASKS[part.task]
        self._values = array("d", [math.nan]) * len(self._rows)
        self._lines = array("q", [0]) * len(self._rows)  # where a row's id stood first

    @property
    def values(self) -> Array:
        """The predictions (rows,), NaN where there is none."""
        return np.frombuffer(self._values, dtype=np.float64)

    def read(self, lines: Iterable[tuple[int, bytes]]) -> None:
        """Take all lines. Raises Unreadable where too many are bad."""
        find, value_of = self._rows.get, _quick(self._task)
        values, seen = self._values, self._lines
        for number, line in lines:
            name, mark, value = line.rpartition(b",")
            if not mark:
                name, mark, value = line.rpartition(b"\t")
            row, prediction = find(name.strip()), value_of(value.strip())
            if row is None or prediction is None or seen[row]:
                self._look_closely(number, line)
            else:
                values[row] = prediction
                seen[row] = number

    def _look_closely(self, number: int, line: bytes) -> None:
        if not line.strip():
            return
        if self._problems.counts.total() >= BAD_ROWS:
            raise Unreadable(f"over {BAD_ROWS:,} bad rows: line {number} and below are not read")
        name, value = cells(line)
        row = self._rows.get(name)
        if row is None and b"\t" in line:  # a comma in the id, or in the number
            left, _, right = line.rpartition(b"\t")
            row = self._rows.get(left.strip())
            name, value = (name, value) if row is None else (left.strip(), right.strip())
        if row is None:
            self._problems.add(*self._stray(line, name), number)
        elif self._lines[row]:
            say = f"id {quoted(name)} again, as in line {self._lines[row]}: only the first counts"
            self._problems.add("duplicate", say, number)
        else:
            self._lines[row] = number
            self._take(row, value, number)

    def _stray(self, line: bytes, name: bytes) -> tuple[str, str]:
        """Return the kind of problem of a row whose id is not of this part, and what to say."""
        if b"," not in line and b"\t" not in line:
            return "columns", f"{quoted(line)} has no comma or tab: write id , prediction"
        known = (part for part, rows in self._gold.ids.items() if name in rows)
        part = next(known, None) or self._gold.train_part(name)
        if part is not None:
            return "split", f"id {quoted(name)} is of {part}, not {self._part}: leave it out"
        return "unknown", f"id {quoted(name)} is not in the gold files: leave it out"

    def _take(self, row: int, value: bytes, number: int) -> None:
        text = value.decode("utf-8", "backslashreplace")
        try:
            if len(value) > 64:
                raise ValueError(f"{quoted(value)} is not a number")
            self._values[row] = self._task.parse_label(text)
        except ValueError as error:
            kept = self._task.is_correlation and _is_number(value)
            fate = "is scored as it is: clip it" if kept else "counts as none: mend it"
            self._problems.add("value", f"prediction {error}; it {fate}", number)
            if kept:
                self._values[row] = float(text)

    def check(self) -> None:
        """Note missing ids, and predictions that are all the same."""
        optional, lines = self._gold.optional[self._part], self._lines
        missing = [
            name for name, row in self._rows.items() if not lines[row] and name not in optional
        ]
        if missing:
            named = ", ".join(map(quoted, missing[:_NAMED]))
            dots = ", ..." if len(missing) > _NAMED else ""
            word = "id" if len(missing) == 1 else "ids"
            say = f"{len(missing):,} {word} of {len(self._rows):,} missing: {named}{dots}"
            self._problems.add("missing", f"{say}; every one needs its row")
        values = self.values[~np.isnan(self.values)]
        if len(values) > 1 and np.ptp(values) == 0:
            say = f"every prediction is {values[0]:g}: a constant column says nothing"
            self._problems.add("constant", say)


def _quick(task: Task) -> Callable[[bytes], float | None]:
    """Return a fast reader of the common spellings, which gives None for all others."""
    if task.is_correlation:
        return lambda text: _similarity(task, text)
    spelled: dict[bytes, float] = {}
    for number in range(max(2, task.num_outputs)):
        spelled |= {b"%d" % number: float(number), b"%d.0" % number: float(number)}
    return spelled.get


def _similarity(task: Task, value: bytes) -> float | None:
    try:
        return task.parse_label(value.decode("ascii"))
    except ValueError:
        return None


def _is_number(value: bytes) -> bool:
    try:
        return abs(plain_number(value.decode("ascii"))) < _LARGEST
    except ValueError:
        return False

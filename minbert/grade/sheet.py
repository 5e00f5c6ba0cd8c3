"""Read one prediction file against the gold's ids, as a stream, and name every defect.

All forms that the course has had are read: tabs or commas, blanks around them, the historical
spellings of the columns, `3` or `3.0`, LF or CRLF, a byte order mark, blank lines, any order of
rows. So are those that spreadsheets and libraries write (`dialect.py`). `_PredictionReader.read`
takes the common spelling of a row at once, and looks closely only at the other rows.
"""

import math
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from minbert.data.records import Line
from minbert.grade.dialect import BOM, Dialect, is_number
from minbert.grade.glance import Glance, glance, records
from minbert.grade.gold import Gold, Part
from minbert.grade.members import Member, Unreadable
from minbert.grade.problems import Problem, Problems, quoted
from minbert.grade.recognise import tasks_of
from minbert.tasks.labels import LABEL_BYTES
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Array, Task

LINE_BYTES = 2**16
LINES = 200_000  # five times the largest of the course
BAD_ROWS = 100_000  # then a file is not read on
_LONGEST_NUMBER = 64  # bytes
_NAMED = 5  # missing ids, or columns passed over


@dataclass(frozen=True)
class Sheet:
    """The predictions of a file that is about one part of the gold."""

    file: str
    part: Part
    option: str | None  # of a single-task file, by its name
    values: Array  # (rows of the part,), NaN where there is no prediction


@dataclass(frozen=True)
class FileReport:
    """A prediction file as read: its problems, and what is worth a word and no problem.

    The sheet is None for a file that is useless or, as `why` says, about nothing that is graded.
    """

    file: str
    sheet: Sheet | None
    problems: list[Problem]
    notes: list[str] = field(default_factory=list)
    why: str = ""


def read_sheet(member: Member, gold: Gold, *, expected: bool) -> FileReport | None:
    """Read a member's predictions and their problems. Return None for a file of another kind."""
    found = glance(member, gold, expected=expected)
    return None if found is None else read_found(found, gold)


def read_found(found: Glance, gold: Gold) -> FileReport:
    """Read a prediction file that was looked at before."""
    if found.is_defect:
        return FileReport(found.name, None, [Problem(found.name, None, found.why, "file")])
    if found.part is None or found.dialect is None:
        return FileReport(found.name, None, [], why=found.why)
    problems = Problems(found.name)
    reader = _PredictionReader(found.part, gold, problems, found.dialect)
    try:
        lines = _numbered(found.member.blocks())
        reader.read(_without_header(lines, found.part, found.dialect, gold, problems))
    except Unreadable as error:
        return FileReport(found.name, None, [Problem(found.name, None, str(error), "file")])
    reader.check()
    role = found.role
    if role is not None and role.part != found.part:
        say = f"named as {role.part}, but its ids are {found.part}'s: rename it, or write it anew"
        problems.add("name", say)
    option = role.option if role else None
    sheet = Sheet(found.name, found.part, option, reader.values)
    return FileReport(found.name, sheet, problems.listed(), list(reader.notes()))


def _numbered(blocks: Iterable[bytes]) -> Iterator[Line]:
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
    lines: Iterator[Line], part: Part, dialect: Dialect, gold: Gold, problems: Problems
) -> Iterator[Line]:
    """Check the header and yield the rows below it, or all rows where there is no header."""
    stripped = ((number, line.removeprefix(BOM).strip(b" \r")) for number, line in lines)
    number, line = next(pair for pair in stripped if pair[1].strip())
    expected = f"expected id <tab> {TASKS[part.task].prediction_column}"
    first = dialect.layout.row(line)
    if dialect.header is None and first and gold.ids[part].row(first[0]) is not None:
        problems.add("header", f"no header; {expected}", number)
        yield number, line
    elif dialect.header is None or part.task not in tasks_of(dialect.header.column):
        problems.add("header", f"header {quoted(line)} in a file of {part}; {expected}", number)
    yield from records(dialect.header, lines)


class _PredictionReader:
    """The predictions of one part, taken row by row."""

    def __init__(self, part: Part, gold: Gold, problems: Problems, dialect: Dialect) -> None:
        self._part, self._gold, self._problems, self._dialect = part, gold, problems, dialect
        self._rows, self._task = gold.ids[part], TASKS[part.task]
        self._values = array("d", [math.nan]) * len(self._rows)
        self._lines = array("q", [0]) * len(self._rows)  # where a row's id stood first
        self._recased = 0  # ids that were found by ignoring case

    @property
    def values(self) -> Array:
        """The predictions (rows,), NaN where there is none."""
        return np.frombuffer(self._values, dtype=np.float64)

    def read(self, lines: Iterable[Line]) -> None:
        """Take all lines. Raises Unreadable where too many are bad."""
        find, value_of = self._rows.get, _quick(self._task)
        values, seen, layout = self._values, self._lines, self._dialect.layout
        for number, line in lines:
            name, _, value = line.rpartition(layout.delimiter)
            row, prediction = find(name.strip()), value_of(value.strip())
            if row is None or prediction is None or seen[row] or layout.width is not None:
                self._look_closely(number, line)
            else:
                values[row] = prediction
                seen[row] = number

    def _look_closely(self, number: int, line: bytes) -> None:
        if not line.strip():
            return
        if self._problems.counts.total() >= BAD_ROWS:
            raise Unreadable(f"over {BAD_ROWS:,} bad rows: line {number} and below are not read")
        name, value = self._dialect.row(line, self._knows) or (b"", b"")
        row = self._rows.row(name)
        if row is None:
            self._problems.add(*self._stray(line, name), number)
        elif self._lines[row]:
            say = f"id {quoted(name)} again, as in line {self._lines[row]}: only the first counts"
            self._problems.add("duplicate", say, number)
        else:
            self._lines[row] = number
            self._recased += name not in self._rows
            self._take(row, value, number)

    def _knows(self, name: bytes) -> bool:
        return self._rows.row(name) is not None

    def _stray(self, line: bytes, name: bytes) -> tuple[str, str]:
        """Return the kind of problem of a row whose id is not of this part, and what to say."""
        if not self._dialect.splits(line):
            say = f"{quoted(line)} does not split into {self._dialect.width} cells"
            return "columns", f"{say}: write id , prediction"
        known = (part for part, rows in self._gold.ids.items() if rows.row(name) is not None)
        part = next(known, None) or self._gold.train_part(name)
        if part is not None:
            return "split", f"id {quoted(name)} is of {part}, not {self._part}: leave it out"
        return "unknown", f"id {quoted(name)} is not in the gold files: leave it out"

    def _take(self, row: int, value: bytes, number: int) -> None:
        text = value.decode("utf-8", "backslashreplace")
        try:
            if len(value) > (LABEL_BYTES if self._task.labels else _LONGEST_NUMBER):
                kind = "label" if self._task.labels else "number"
                raise ValueError(f"{quoted(value)} is not a {kind}")
            self._values[row] = self._task.parse_label(text)
        except ValueError as error:
            kept = self._task.is_correlation and is_number(value)
            fate = "is scored as it is: clip it" if kept else "counts as none: mend it"
            self._problems.add("value", f"prediction {error}; it {fate}", number)
            if kept:
                self._values[row] = float(text)

    def notes(self) -> Iterator[str]:
        """Yield what was read otherwise than it stands there."""
        header = self._dialect.header
        if header is not None and header.others:
            named = ", ".join(map(quoted, header.others[:_NAMED]))
            yield f"further columns are passed over: {named}"
        if self._dialect.has_decimal_commas:
            yield "its decimal commas are read as points"
        if self._recased:
            yield f"ids taken for the gold's, which differ by case alone: {self._recased:,}"

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
    spelled = {name.encode(): float(place) for place, name in enumerate(task.labels)}
    if spelled:
        return spelled.get
    for number in range(max(2, task.num_outputs)):
        spelled |= {b"%d" % number: float(number), b"%d.0" % number: float(number)}
    return spelled.get


def _similarity(task: Task, value: bytes) -> float | None:
    try:
        return task.parse_label(value.decode("ascii"))
    except ValueError:
        return None

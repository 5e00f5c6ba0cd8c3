"""How a file's lines become rows of named cells: by a delimiter, or as JSON objects.

The course's files are tab-separated. In the files of other tasks the header shows the delimiter, as
only one of them parts it into the columns that the task needs. A file whose first line is a JSON
object has one in every line.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from minbert.data.records import Line, RecordError, fields_of, whole_records
from minbert.support.errors import InputError
from minbert.tasks.task import Task

_BOM = b"\xef\xbb\xbf"
_DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
_JSON = (".jsonl", ".ndjson", ".json")
_NAMED = 8  # columns in a message
IsLabelled = Callable[[list[str]], bool]  # whether the cells of a row have a label where it is due


class MissingColumn(InputError):
    """A file that can be read lacks a column that a task needs. `there` are its columns."""

    def __init__(self, place: str, what: str, there: list[str]) -> None:
        super().__init__(f"{place}: {what}")
        self.place, self.there = place, there


class _Lacking(ValueError):
    """A header that can be read lacks a column. `there` are its columns."""

    def __init__(self, what: str, there: list[str]) -> None:
        super().__init__(what)
        self.there = there


class Layout(Protocol):
    """How the lines of one file are read."""

    @property
    def columns(self) -> list[str]:
        """The names of its columns, without blanks around them."""

    @property
    def may_lack_ids(self) -> bool:
        """Whether a row may have no id though others have one."""

    def records(self, lines: Iterator[Line], is_labelled: IsLabelled) -> Iterator[Line]:
        """The records below the header, each of one line or of several."""

    def cells(self, raw: bytes, complaints: list[str]) -> list[str]:
        """A record's cells, even of a bad one; adds to `complaints` what is wrong with it."""


@dataclass(frozen=True)
class Delimited:
    """Cells with a delimiter between them; quotes, if they mean anything, as in Python's csv."""

    columns: list[str]
    delimiter: str
    quotes: bool
    may_lack_ids: bool = False

    def records(self, lines: Iterator[Line], is_labelled: IsLabelled) -> Iterator[Line]:
        """The records: a quoted cell may run over several lines."""

        def is_row(line: bytes) -> bool:
            """Whether a line is a whole row with a label, if quotation marks mean nothing."""
            cells = line.decode("utf-8", errors="replace").rstrip("\r\n").split(self.delimiter)
            return len(cells) == len(self.columns) and is_labelled(cells)

        mark = self.delimiter.encode()
        return filled(whole_records(lines, mark, is_row) if self.quotes else lines)

    def cells(self, raw: bytes, complaints: list[str]) -> list[str]:
        """The cells of a record; those of a broken one are what stands between the delimiters."""
        try:
            cells = fields_of(raw, quotes=self.quotes, delimiter=self.delimiter)
        except RecordError as error:
            complaints.append(str(error))
            return raw.decode("utf-8", errors="replace").split(self.delimiter)
        if len(cells) != len(self.columns):
            complaints.append(f"{len(cells)} columns, not {len(self.columns)}")
        return cells


@dataclass(frozen=True)
class JsonLines:
    """A JSON object in each line, whose values for the task's columns are the cells."""

    columns: list[str]
    may_lack_ids: bool = True

    def records(self, lines: Iterator[Line], is_labelled: IsLabelled) -> Iterator[Line]:  # noqa: ARG002
        """The lines that are not blank."""
        return filled(lines)

    def cells(self, raw: bytes, complaints: list[str]) -> list[str]:
        """The values of the object, as texts."""
        try:
            row = _object(raw)
        except ValueError as error:
            complaints.append(str(error))
            return []
        return [_as_text(column, row.get(column), complaints) for column in self.columns]


def filled(records: Iterable[Line]) -> Iterator[Line]:
    """Records without their ends, except those of nothing but spaces."""
    for number, record in records:
        content = record.rstrip(b"\r\n")
        if content.strip(b" "):
            yield number, content


def layout_of(
    task: Task, name: str, path: Path, lines: Iterator[Line]
) -> tuple[Layout, Iterator[Line]]:
    """A file's layout by its first line, and the lines that have its rows.

    `name` is train, dev or test. Raises InputError where a column that the task needs is not there.
    """
    needed = [] if task.numbered else [task.id_column]
    needed += [*task.text_columns, *([task.label_column] if name != "test" else [])]
    tabs = "tab-separated " if task.delimiter == "\t" else ""
    expected = f"expected {tabs}columns {', '.join(needed)}"
    number, raw = next(filled(lines), (0, b""))
    raw = raw.removeprefix(_BOM)
    if not raw:
        raise InputError(f"{path}: empty; {expected}")
    if task.delimiter is None and (raw.startswith(b"{") or path.suffix.lower() in _JSON):
        return _json_layout(task, name, f"{path}:{number}", raw), chain([(number, raw)], lines)
    try:
        return _delimited(task, needed, path, raw), lines
    except ValueError as error:
        if (bare := _without_header(task, raw)) is not None:
            return bare, chain([(number, raw)], lines)
        place, what = f"{path}:{number}", f"{error}; {expected}"
        if isinstance(error, _Lacking):
            raise MissingColumn(place, what, error.there) from error
        raise InputError(f"{place}: {what}") from error


def _json_layout(task: Task, name: str, place: str, raw: bytes) -> JsonLines:
    try:
        there = list(_object(raw))
    except ValueError as error:
        raise InputError(f"{place}: {error}; expected a JSON object in each line") from error
    if missing := [column for column in task.text_columns if column not in there]:
        raise MissingColumn(place, f"no key {', '.join(missing)} among {some(there)}", there)
    own = [task.id_column, *task.text_columns]
    labelled = task.label_column in there or name != "test"
    return JsonLines([*own, task.label_column] if labelled else own)


def _delimited(task: Task, needed: list[str], path: Path, raw: bytes) -> Delimited:
    """The layout whose delimiter parts the header into what is needed. Raises ValueError."""
    if task.delimiter is not None:
        return _header(task, needed, raw, task.delimiter)
    likely = sorted(_DELIMITERS, key=lambda mark: (mark == "\t") != (path.suffix == ".tsv"))
    errors: list[tuple[int, ValueError]] = []
    for mark in likely:
        try:
            return _header(task, needed, raw, mark)
        except ValueError as error:
            errors.append((raw.count(mark.encode()), error))
    raise max(errors, key=lambda each: each[0])[1]


def _without_header(task: Task, raw: bytes) -> Delimited | None:
    """The layout of a file whose first line is a row of the task's columns."""
    for mark in _DELIMITERS if task.delimiter is None else (task.delimiter,):
        try:
            cells = fields_of(raw, quotes=task.quotes, delimiter=mark)
        except RecordError:
            continue
        if task.columns and len(cells) == len(task.columns):
            return Delimited([*task.columns], mark, task.quotes)
    return None


def _header(task: Task, needed: list[str], raw: bytes, delimiter: str) -> Delimited:
    """The layout of a header's columns. Raises ValueError where a needed one is not there."""
    try:
        cells = fields_of(raw, quotes=task.quotes, delimiter=delimiter)
    except RecordError as error:
        raise ValueError(f"header: {error}") from error
    columns = [cell.strip() for cell in cells]
    if len(columns) == 1 and task.delimiter is not None:
        raise ValueError(f"one column, so {_DELIMITERS[delimiter]} is not its delimiter")
    if missing := [column for column in needed if column not in columns]:
        found = "" if task.delimiter is not None else f" among {some(columns)}"
        raise _Lacking(f"no column {', '.join(missing)}{found}", columns)
    if twice := [column for column in needed if columns.count(column) > 1]:
        raise ValueError(f"two columns {twice[0]}: which one counts?")
    return Delimited(columns, delimiter, task.quotes)


def some(names: list[str]) -> str:
    """The names in a message: the first eight, each cut to 40 letters."""
    more = ", ..." if len(names) > _NAMED else ""
    return f"{', '.join(name[:40] for name in names[:_NAMED])}{more}"


def _object(raw: bytes) -> dict[str, Any]:
    """The JSON object that a line is. Raises ValueError."""
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"invalid UTF-8 at byte {error.start + 1}") from error
    except RecursionError as error:
        raise ValueError("not JSON (nested too deeply)") from error
    except ValueError as error:
        raise ValueError(f"not JSON ({str(error)[:80]})") from error
    if not isinstance(value, dict):
        raise ValueError("no JSON object {...}")
    return value


def _as_text(column: str, value: Any, complaints: list[str]) -> str:
    """A JSON value as the cell of a table has it: a number as it is spelled, null as nothing."""
    if isinstance(value, list | dict):
        complaints.append(f"{column} is neither text nor number")
        return ""
    if not isinstance(value, str):
        return "" if value is None else json.dumps(value)
    try:
        value.encode()
    except UnicodeEncodeError:
        complaints.append(f"half a character in {column}")
        return value.encode("utf-8", errors="replace").decode()
    return value

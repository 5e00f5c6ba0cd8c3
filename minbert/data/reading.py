"""Reading a task's files exactly as they are, with every bad row accounted for.

A file is UTF-8. The course's are tab-separated in spite of `.csv`, quoted as Python's csv does (or
not at all, where the task says so). `layouts.py` reads these, and what other tasks' files may be. A
record is a line, or several where a quoted text has line ends in it.
Columns are found by the header's names, so the unnamed index column and the odd first columns of
the SST and CFIMDB test files need no special case.

Rows in = rows used + rows reported. In a train file a reported row is left out. In dev and test
files it is not scored, but still predicted if its id can be read, because every id is due.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress, islice
from pathlib import Path

import numpy as np

from minbert.data import spooled
from minbert.data.examples import BadRow, Example, Split, StoredExamples
from minbert.data.layouts import Layout, layout_of
from minbert.data.records import Line
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.tasks.task import Task, kind_of

_LONGEST_LINE = 2**26  # bytes; records.py reports a text of a quarter of this
_SHOWN = 5  # reported rows printed per file; the run's folder lists all of them


def read_split(
    task: Task,
    split: str,
    path: Path,
    *,
    strict: bool = False,
    limit: int | None = None,
    shown: int | None = _SHOWN,
) -> Split:
    """Read a split's rows from its file; `limit` stops after that many of them.

    The log names so many reported rows as are to be `shown`, for None all.

    Raises InputError for a file that cannot be read at all: absent, empty, without the expected
    columns, without a usable row; with `strict`, for any bad row too.
    """
    name = kind_of(split)
    layout, lines = layout_of(task, name, path, _lines(path))
    reader = _RowReader(task, layout, labelled=name != "test", keep_unlabelled=name != "train")
    records = reader.records(lines, task.rows_of(split))
    examples, bad_rows, rows = _read_rows(task, path, islice(records, limit), reader)
    _report(path, rows, bad_rows, strict, shown)
    if not any(name == "test" or example.label is not None for example in examples):
        what = "" if name == "test" else " with a label"
        raise InputError(f"{path}: no usable row{what} among {rows}")
    return Split(task, name, path, examples, bad_rows, rows)


def columns_of(task: Task, path: Path) -> list[str]:
    """The names in a file's header. Raises InputError where its texts have no column."""
    return layout_of(task, "test", path, _lines(path))[0].columns


def ids_in(task: Task, path: Path) -> Iterator[str]:
    """The ids of a file, whatever else is wrong with its rows. Raises InputError likewise."""
    layout, lines = layout_of(task, "test", path, _lines(path))
    reader = _RowReader(task, layout, labelled=False, keep_unlabelled=True)
    for row, (_, raw) in enumerate(reader.records(lines), start=1):
        example, _ = reader.read(row, raw)
        if example is not None:
            yield example.id


def labels_in(task: Task, path: Path) -> set[str]:
    """The different labels of a train file, as they are spelled there. Raises InputError."""
    anything = replace(task, parse_label=lambda _text: 0.0)
    layout, lines = layout_of(task, "train", path, _lines(path))
    reader = _RowReader(anything, layout, labelled=True, keep_unlabelled=False)
    return {
        reader.spelled_label(raw)
        for row, (_, raw) in enumerate(reader.records(lines), start=1)
        if reader.read(row, raw)[0] is not None
    }


def _read_rows(
    task: Task, path: Path, records: Iterator[Line], reader: _RowReader
) -> tuple[StoredExamples, list[BadRow], int]:
    """The examples, of each id the first; the reported rows; the number of rows seen."""
    examples, ids, places = StoredExamples(task), spooled.Equals(), spooled.GrowingArray(np.int64)
    complaints: defaultdict[int, list[str]] = defaultdict(list)  # by line
    rows, suspects = 0, []
    for number, raw in records:
        rows += 1
        if reader.may_hide_rows(raw):
            suspects.append(number)
        example, complaint = reader.read(rows, raw)
        if complaint:
            complaints[number].append(complaint)
        if example is not None:
            examples.append(example)
            ids.append(example.id)
            places.append(number)
    if suspects:
        what = "%s: %d quoted texts take in lines that look like rows, the first at line %d"
        log.warning(what, path, len(suspects), suspects[0])
    is_repeated = ids.first() != np.arange(len(examples))
    if is_repeated.any():
        repeated = compress(zip(places.whole().tolist(), examples, strict=True), is_repeated)
        for number, example in repeated:
            complaints[number].append(f"duplicate id {example.id}")
        examples = StoredExamples(task, compress(examples, ~is_repeated))
    bad_rows = [
        BadRow(str(path), line, "; ".join(what)) for line, what in sorted(complaints.items())
    ]
    return examples, bad_rows, rows


def _lines(path: Path) -> Iterator[Line]:
    """Numbered lines, with their ends. Raises InputError for one that no text can be so long as.

    A file that a full disk or a failed copy left may be gigabytes of zeros without a line end.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    with stream:
        for number, line in enumerate(iter(partial(stream.readline, _LONGEST_LINE), b""), start=1):
            if len(line) == _LONGEST_LINE:
                what = f"a line of {_LONGEST_LINE // 2**20} MB or more is no row of texts"
                raise InputError(f"{path}:{number}: {what}; is the file damaged?")
            yield number, line


@dataclass(frozen=True)
class _RowReader:
    """A parser of records, each into an example, a complaint, or both."""

    task: Task
    layout: Layout
    labelled: bool
    keep_unlabelled: bool

    def read(self, row: int, raw: bytes) -> tuple[Example | None, str | None]:
        complaints: list[str] = []
        fields = self.layout.cells(raw, complaints)
        identifier = self._identifier(row, fields)
        if not identifier or (complaints and "\ufffd" in identifier):
            return None, "; ".join([*complaints, "no id"])
        if identifier == self.task.id_column and self._is_header(fields):
            return None, "the header again"
        if any(unicodedata.category(letter) == "Cc" for letter in identifier):
            return None, "; ".join([*complaints, f"control character in id {identifier!r}"])
        texts = tuple(self._field(fields, column) for column in self.task.text_columns)
        named = zip(self.task.text_columns, texts, strict=True)
        complaints += [f"empty {column}" for column, text in named if not text.strip()]
        label = self._label(fields, complaints) if self.labelled else None
        if not complaints:
            return Example(identifier, texts, label), None
        kept = Example(identifier, texts, None) if self.keep_unlabelled else None
        return kept, f"id {identifier}: {'; '.join(complaints)}"

    def may_hide_rows(self, raw: bytes) -> bool:
        """Whether a record may be rows between two stray quotation marks, which no label tells."""
        below = raw.split(b"\n")[1:] if not self.labelled else ()
        return any(self._is_whole(line) for line in below)

    def _is_whole(self, line: bytes) -> bool:
        return len(self.layout.cells(line, [])) == len(self.layout.columns)

    def _is_header(self, fields: list[str]) -> bool:
        return [field.strip() for field in fields] == self.layout.columns

    def records(self, lines: Iterator[Line], part: tuple[str, str] | None = None) -> Iterator[Line]:
        """The records of the lines below the header, those of the `part` alone if there is one."""
        records = self.layout.records(lines, self._is_labelled)
        if part is None or part[0] not in self.layout.columns:
            return records
        column, value = part
        return (r for r in records if self._field(self.layout.cells(r[1], []), column) == value)

    def _is_labelled(self, fields: list[str]) -> bool:
        return self.labelled and self._label(fields, []) is not None

    def _identifier(self, row: int, fields: list[str]) -> str:
        """The row's id, or its number where it has none."""
        column, known = self.task.id_column, self.layout.columns
        found = self._field(fields, column).strip() if column in known else ""
        if self.task.numbered and (column not in known or (not found and self.layout.may_lack_ids)):
            return str(row)
        return found

    def spelled_label(self, raw: bytes) -> str:
        """The text of a record's label."""
        return self._field(self.layout.cells(raw, []), self.task.label_column).strip()

    def _field(self, fields: list[str], column: str) -> str:
        index = self.layout.columns.index(column)
        return fields[index] if index < len(fields) else ""

    def _label(self, fields: list[str], complaints: list[str]) -> float | None:
        text = self._field(fields, self.task.label_column).strip()
        if not text:
            complaints.append("no label")
            return None
        try:
            return self.task.parse_label(text)
        except ValueError as error:
            complaints.append(f"label {error}")
            return None


def _report(path: Path, rows: int, bad_rows: list[BadRow], strict: bool, shown: int | None) -> None:
    if not bad_rows:
        return
    if strict:
        more = f" (and {len(bad_rows) - 1} more bad rows)" if len(bad_rows) > 1 else ""
        raise InputError(f"{bad_rows[0]}{more}; mend the file, or leave --strict out")
    log.warning("%s: %d of %d rows reported:", path, len(bad_rows), rows)
    for row in bad_rows[:shown]:
        log.warning("  %s", row)
    if shown is not None and len(bad_rows) > shown:
        log.warning("  and %d more, listed in the run's bad_rows.jsonl", len(bad_rows) - shown)

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

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import compress, islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from minbert.data import spooled
from minbert.data.examples import Amiss, BadRow, Split, StoredExamples
from minbert.data.layouts import layout_of
from minbert.data.records import Line
from minbert.data.row_reader import RowReader
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
    every_row: bool = False,
    lines: Iterator[Line] | None = None,
) -> Split:
    """Read a split's rows from its file; `limit` stops after that many of them.

    The log names so many reported rows as are to be `shown`, for None all. With `every_row` a row
    stays an example whatever is wrong with it: without a good id it is known by its number, and
    ids may come twice. `lines` are the file's, where `path` only names them.

    Raises InputError for a file that cannot be read at all: absent, empty, without the expected
    columns, without a usable row; with `strict`, for any bad row too.
    """
    name = kind_of(split)
    layout, below = layout_of(task, name, path, lines_of(path) if lines is None else lines)
    reader = RowReader(
        task, layout, labelled=name != "test", keep_unlabelled=name != "train", every_row=every_row
    )
    records = reader.records(below, task.rows_of(split))
    found = _read_rows(task, name, path, islice(records, limit), reader)
    _report(path, found.rows, found.bad_rows, strict, shown)
    if not any(name == "test" or example.label is not None for example in found.examples):
        what = "" if name == "test" else " with a label"
        raise InputError(f"{path}: no usable row{what} among {found.rows}")
    return found


def columns_of(task: Task, path: Path, lines: Iterator[Line] | None = None) -> list[str]:
    """The names in a file's header. Raises InputError where its texts have no column.

    `lines` are the file's, where `path` only names them.
    """
    lines = lines_of(path) if lines is None else lines
    return layout_of(task, "test", path, lines)[0].columns


def ids_in(task: Task, path: Path) -> Iterator[str]:
    """The ids of a file, whatever else is wrong with its rows. Raises InputError likewise."""
    layout, lines = layout_of(task, "test", path, lines_of(path))
    reader = RowReader(task, layout, labelled=False, keep_unlabelled=True)
    for row, (_, raw) in enumerate(reader.records(lines), start=1):
        example, _ = reader.read(row, raw)
        if example is not None:
            yield example.id


def labels_in(task: Task, path: Path) -> set[str]:
    """The different labels of a train file, as they are spelled there. Raises InputError."""
    anything = replace(task, parse_label=lambda _text: 0.0)
    layout, lines = layout_of(task, "train", path, lines_of(path))
    reader = RowReader(anything, layout, labelled=True, keep_unlabelled=False)
    return {
        reader.spelled_label(raw)
        for row, (_, raw) in enumerate(reader.records(lines), start=1)
        if reader.read(row, raw)[0] is not None
    }


def _read_rows(
    task: Task, name: str, path: Path, records: Iterator[Line], reader: RowReader
) -> Split:
    """The examples, of each id the first, and what is reported."""
    examples, ids, places = StoredExamples(task), spooled.Equals(), spooled.GrowingArray(np.int64)
    complaints: defaultdict[int, list[str]] = defaultdict(list)  # by line
    amiss: dict[int, Amiss] = {}
    rows, suspects = 0, []
    for number, raw in records:
        rows += 1
        if reader.may_hide_rows(raw):
            suspects.append(number)
        example, complaint = reader.read(rows, raw)
        if complaint:
            complaints[number].append(complaint)
        if example is not None:
            if complaint:
                what = f"line {number}: {complaint.removeprefix(f'id {example.id}: ')}"
                amiss[len(examples)] = Amiss(what, is_read=reader.has_cells(raw))
            examples.append(example)
            ids.append(example.id)
            places.append(number)
    if suspects:
        what = "%s: %d quoted texts take in lines that look like rows, the first at line %d"
        log.warning(what, path, len(suspects), suspects[0])
    is_first = ids.first() == np.arange(len(examples))
    if not (is_first.all() or reader.every_row):
        repeated = compress(zip(places.whole().tolist(), examples, strict=True), ~is_first)
        for number, example in repeated:
            complaints[number].append(f"duplicate id {example.id}")
        examples, amiss = StoredExamples(task, compress(examples, is_first)), {}
    bad_rows = [
        BadRow(str(path), line, "; ".join(what)) for line, what in sorted(complaints.items())
    ]
    return Split(task, name, path, examples, bad_rows, rows, amiss)


def lines_of(path: Path) -> Iterator[Line]:
    """A file's numbered lines, with their ends. Raises InputError as `numbered` does."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    with stream:
        yield from numbered(stream, path)


def numbered(stream: BinaryIO, path: Path) -> Iterator[Line]:
    """Numbered lines, with their ends. Raises InputError for one that no text can be so long as.

    A file that a full disk or a failed copy left may be gigabytes of zeros without a line end.
    """
    for number, line in enumerate(iter(partial(stream.readline, _LONGEST_LINE), b""), start=1):
        if len(line) == _LONGEST_LINE:
            what = f"a line of {_LONGEST_LINE // 2**20} MB or more is no row of texts"
            raise InputError(f"{path}:{number}: {what}; is the file damaged?")
        yield number, line


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

"""A record of a task's file becomes an example, a complaint, or both."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from minbert.data.examples import Example
from minbert.data.layouts import Layout
from minbert.data.records import Line
from minbert.tasks.task import Task


@dataclass(frozen=True)
class RowReader:
    """A parser of records, each into an example, a complaint, or both.

    With `every_row` a row without a good id has its number for one.
    """

    task: Task
    layout: Layout
    labelled: bool
    keep_unlabelled: bool
    every_row: bool = False

    def read(self, row: int, raw: bytes) -> tuple[Example | None, str | None]:
        """The example in the `row`-th record, and what is wrong with the record, if anything is."""
        complaints: list[str] = []
        fields = self.layout.cells(raw, complaints)
        identifier = self._identifier(row, fields)
        if identifier == self.task.id_column and self._is_header(fields):
            return None, "the header again"
        if wrong := self._wrong_with(identifier, complaints):
            complaints.append(wrong)
            if not self.every_row:
                return None, "; ".join(complaints)
            identifier = str(row)
        texts = tuple(self._field(fields, column) for column in self.task.text_columns)
        named = zip(self.task.text_columns, texts, strict=True)
        complaints += [f"empty {column}" for column, text in named if fields and not text.strip()]
        label = self._label(fields, complaints) if self.labelled else None
        if not complaints:
            return Example(identifier, texts, label), None
        kept = Example(identifier, texts, None) if self.keep_unlabelled else None
        return kept, f"id {identifier}: {'; '.join(complaints)}"

    def _wrong_with(self, identifier: str, complaints: list[str]) -> str | None:
        """Why a cell can be no id, where it cannot."""
        if not identifier or (complaints and "\ufffd" in identifier):
            return "no id"
        if any(unicodedata.category(letter) == "Cc" for letter in identifier):
            return f"control character in id {identifier!r}"
        return None

    def has_cells(self, raw: bytes) -> bool:
        """Whether a record could be taken apart at all."""
        return bool(self.layout.cells(raw, []))

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

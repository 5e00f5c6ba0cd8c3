"""Answers as people and programs read them: a table, JSON lines, CSV."""

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from minbert.data.examples import Amiss
from minbert.reports.tables import csv_text
from minbert.support.console import printable
from minbert.tasks.answers import Answer

_MOST_TEXT = 60  # letters of a text in a table, at most
_HEADER = ("id", "task", "label", "prediction", "probability", "text", "second text", "error")
_OURS = re.compile(rb'{"id": "(?:[^"\\]|\\.)*", "task": "|' + ",".join(_HEADER[:7]).encode())


@dataclass(frozen=True)
class Row:
    """An answer, the id of its row, and what was wrong with the row.

    A row that could not be read has no answer: what a model makes of no text would look like one.
    """

    id: str
    answer: Answer
    amiss: Amiss | None = None

    @property
    def has_answer(self) -> bool:
        """Whether the model was asked about what the row says."""
        return self.amiss is None or self.amiss.is_read

    def as_json(self) -> dict[str, Any]:
        """The answer as a JSON object, with null for all that is not known."""
        found = self.answer.as_json()
        if not self.has_answer:
            found = {name: value if name == "task" else None for name, value in found.items()}
        error = {} if self.amiss is None else {"error": self.amiss.what}
        return {"id": self.id, **found, **error}


Rows = Iterable[Row]


def is_ours(begins: bytes) -> bool:
    """Whether a file that begins so has answers in it."""
    return _OURS.match(begins) is not None


def json_lines(rows: Rows) -> Iterator[str]:
    """A JSON object a line."""
    for row in rows:
        yield json.dumps(row.as_json()) + "\n"


def csv_lines(rows: Rows) -> Iterator[str]:
    """A header, then a line an answer; what an answer does not have is left empty."""
    yield csv_text([_HEADER])
    for row in rows:
        yield csv_text([(row.id, row.answer.task, *_csv_cells(row), row.amiss and row.amiss.what)])


def _csv_cells(row: Row) -> Sequence[Any]:
    if not row.has_answer:
        return [None] * 5
    answer = row.answer
    probability = None if answer.probability is None else round(answer.probability, 6)
    return answer.label, answer.prediction, probability, *(*answer.texts, "")[:2]


def table(rows: Rows) -> str:
    """Columns that stand below each other; of a single row, all classes with their bars."""
    found = list(rows)
    several = len({row.id for row in found}) > 1
    lines = [_cells(row, several=several) for row in found]
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]) - 1)]
    width = min(shutil.get_terminal_size().columns, 100)
    room = max(20, width - sum(widths) - 2 * len(widths))
    shown = []
    for line, row in zip(lines, found, strict=True):
        padded = (cell.ljust(size) for cell, size in zip(line, widths, strict=False))
        shown.append("  ".join((*padded, _cut(line[-1], min(room, _MOST_TEXT)))).rstrip())
        shown += [] if several or not row.has_answer else _bars(row.answer)
    return "\n".join(shown)


def _cells(row: Row, *, several: bool) -> list[str]:
    text = " | ".join(printable(" ".join(text.split())) for text in row.answer.texts)
    verdict = _verdict(row.answer)
    if row.amiss is not None:
        text = f"({printable(row.amiss.what)}) {text}"
        verdict = verdict if row.has_answer else ("–", "")
    own = [row.answer.task, *verdict, text]
    return [printable(row.id), *own] if several else own


def _verdict(answer: Answer) -> Sequence[str]:
    if answer.label is None:
        return f"{answer.prediction:.2f}", ""
    return answer.label, f"{answer.probability:.2f}"


def _bars(answer: Answer) -> list[str]:
    """The classes of one answer, the likeliest first."""
    chances = sorted((answer.probabilities or {}).items(), key=lambda entry: -entry[1])
    most = max((len(name) for name, _ in chances), default=0)
    return [f"  {name:<{most}}  {p:.2f}  {'#' * round(30 * p)}".rstrip() for name, p in chances]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"

"""Answers as people and programs read them: a table, JSON lines, CSV."""

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence

from minbert.reports.tables import csv_text
from minbert.support.console import printable
from minbert.tasks.answers import Answer

Rows = Iterable[tuple[str, Answer]]  # each answer with the id of its row

_MOST_TEXT = 60  # letters of a text in a table, at most
_HEADER = ("id", "task", "label", "prediction", "probability", "text", "second text")


def json_lines(rows: Rows) -> Iterator[str]:
    """A JSON object a line."""
    for name, answer in rows:
        yield json.dumps({"id": name, **answer.as_json()}) + "\n"


def csv_lines(rows: Rows) -> Iterator[str]:
    """A header, then a line an answer; what an answer does not have is left empty."""
    yield csv_text([_HEADER])
    for name, answer in rows:
        texts = (*answer.texts, "")[:2]
        probability = None if answer.probability is None else round(answer.probability, 6)
        about = (name, answer.task, answer.label, answer.prediction, probability)
        yield csv_text([(*about, *texts)])


def table(rows: Rows) -> str:
    """Columns that stand below each other; of a single row, all classes with their bars."""
    found = list(rows)
    several = len({name for name, _ in found}) > 1
    lines = [_cells(name, answer, several=several) for name, answer in found]
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]) - 1)]
    width = min(shutil.get_terminal_size().columns, 100)
    room = max(20, width - sum(widths) - 2 * len(widths))
    shown = []
    for line, (_, answer) in zip(lines, found, strict=True):
        padded = (cell.ljust(size) for cell, size in zip(line, widths, strict=False))
        shown.append("  ".join((*padded, _cut(line[-1], min(room, _MOST_TEXT)))))
        shown += [] if several else _bars(answer)
    return "\n".join(shown)


def _cells(name: str, answer: Answer, *, several: bool) -> list[str]:
    text = " | ".join(printable(" ".join(text.split())) for text in answer.texts)
    own = [answer.task, *_verdict(answer), text]
    return [name, *own] if several else own


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

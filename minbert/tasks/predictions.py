"""Prediction files, byte for byte as the course's starter writes them.

A header `id <tab> Predicted_Sentiment`, then rows `{id} , {prediction}`; every line ends in a
space before its newline, and the header has one on both sides of the tab.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from minbert.tasks.task import Array, Task

FOLDER = "predictions"  # where the handouts put them


def default_file(task: Task, split: str, *, alone: bool) -> str:
    """The course's name for a prediction file, with `{option}` left open.

    A run on one task alone has names of its own, as has a task outside the course's mix.
    """
    if alone or not task.in_course_mix:
        return f"{{option}}-{task.name}-{split}-out.csv"
    return f"{task.name}-{split}-output.csv"


def render(task: Task, ids: Sequence[str], predictions: Array) -> str:
    """The file's text: a row an id, in the given order."""
    pairs = zip(ids, map(task.spelled, predictions), strict=True)
    rows = (_row(name, value) for name, value in pairs)
    return f"id \t {task.prediction_column} \n{''.join(rows)}"


def _row(name: str, value: str) -> str:
    """A row as the starter's; the name of a class that would part it in two is quoted."""
    if re.search(r'[,;|\t"]', value):
        quoted = value.replace('"', '""')
        return f'{name} ,"{quoted}"\n'
    return f"{name} , {value} \n"


def count_rows(path: Path) -> int:
    """Rows of an existing prediction file, 0 where there is none."""
    if not path.is_file():
        return 0
    with path.open("rb") as stream:
        return max(0, sum(1 for line in stream if line.strip()) - 1)


def is_prediction_file(path: Path) -> bool:
    """Whether an existing file is empty or begins as every handout's prediction files do."""
    with path.open("rb") as stream:
        begins = stream.read(64)
    return not begins or re.match(rb"(\xef\xbb\xbf)?\s*id\s*[\t,]\s*Predicted_", begins) is not None

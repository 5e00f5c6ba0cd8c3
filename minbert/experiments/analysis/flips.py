"""The dev examples that turn right or wrong from one row to another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minbert.experiments.analysis.analysis import Analysis
from minbert.experiments.grid.columns import decisive
from minbert.experiments.grid.finished import FinishedRun
from minbert.experiments.grid.results import RowResult
from minbert.support.errors import InputError
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Array

_SHOWN = 3  # examples each way
_LETTERS = 240  # of an example's text


@dataclass(frozen=True)
class Flip:
    """An example that only one of two rows has right. Answers are means over the seeds."""

    id: str
    text: str  # "" where the data file is not there any more
    label: float
    before: float
    after: float


@dataclass(frozen=True)
class Flips:
    """The examples that turn right and wrong from row `before` to row `after`, over all seeds.

    An answer on a scale turns right where it comes nearer to the label by a whole point or more,
    and wrong where it moves away by as much. `gained` and `lost` have the clearest of each.
    """

    before: str
    after: str
    task: str
    right: int
    wrong: int
    total: int
    gained: Sequence[Flip]
    lost: Sequence[Flip]


def find(analysis: Analysis) -> list[Flips]:
    """The flips of every comparison and task, on the seeds that both rows have."""
    rows = {result.row.name: result for result in analysis.rows}
    tasks = decisive(analysis.experiment.tasks)
    texts = {task: _texts(analysis.rows, task) for task in tasks}
    return [
        _flips(rows[second], rows[first], task, texts[task])
        for first, second in analysis.experiment.compared
        for task in tasks
        if rows[first].cells.keys() & rows[second].cells.keys()
    ]


def _flips(before: RowResult, after: RowResult, task: str, texts: Mapping[str, str]) -> Flips:
    seeds = sorted(before.cells.keys() & after.cells.keys())
    old, labels = before.predictions(task, seeds)
    new, _ = after.predictions(task, seeds)
    change = _closeness(task, new, labels) - _closeness(task, old, labels)  # (seeds, n)
    (ids, _), over_seeds = before.examples(task), change.mean(0)

    def clearest(gain: Array) -> list[Flip]:
        order = np.argsort(-gain, kind="stable")[:_SHOWN]
        return [
            Flip(
                str(ids[at]),
                texts.get(str(ids[at]), ""),
                float(labels[at]),
                *(float(side[:, at].mean()) for side in (old, new)),
            )
            for at in order
            if gain[at] > 0 and (gain[at] >= 1 or TASKS[task].classes)
        ]

    return Flips(
        before.row.name,
        after.row.name,
        task,
        right=int((change >= 1).sum()),
        wrong=int((change <= -1).sum()),
        total=change.size,
        gained=clearest(over_seeds),
        lost=clearest(-over_seeds),
    )


def _closeness(task: str, predictions: Array, labels: Array) -> Array:
    """1 for right and 0 for wrong; on a scale the negative distance from the label."""
    if TASKS[task].classes:
        return (predictions == labels).astype(np.float64)
    return -np.abs(predictions.astype(np.float64) - labels)


def _texts(rows: Sequence[RowResult], task: str) -> Mapping[str, str]:
    """The dev examples' texts by id; empty where the file is not what the runs were scored on."""
    row = next((row for row in rows if row.cells), None)
    if row is None:
        return {}
    cell = row.result(next(iter(row.cells)), task)
    try:
        run = FinishedRun(cell.folder, cell.manifest["config"], cell.manifest["sha256"], {})
        split = run.split(task)
    except (KeyError, InputError):
        return {}
    return {example.id: _shortened(" / ".join(example.texts)) for example in split.examples}


def _shortened(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"

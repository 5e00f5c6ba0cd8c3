"""What the runs' logs say of R3F's term: how large it is, and which part of it is noise."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minbert.experiments.equal.budget import TASK_NAMES
from minbert.experiments.grid.cells import RUN, Cell
from minbert.training.run_folder import LOG

_TERM, _OF_NOISE, _OF_DROPOUT = "r3f", "r3f_of_noise", "r3f_of_dropout"
Terms = Mapping[str, Sequence[float]]  # task -> the term, of noise, of dropout


@dataclass(frozen=True)
class TermPart:
    """R3F's term in a configuration's runs, on a task: means over steps and runs.

    `of_noise` and `of_dropout` are what the same step has under equal masks with noise, and under
    two masks without. With masks of its own, as published, a term is about their sum.
    """

    row: str
    task: str
    term: float
    of_noise: float
    of_dropout: float

    @property
    def noise_share(self) -> float:
        """The part of the published term that is noise."""
        both = self.of_noise + self.of_dropout
        return self.of_noise / both if both > 0 else 0.0


def term_parts(runs: Mapping[str, Sequence[Terms]]) -> list[TermPart]:
    """A line for each task and each row with runs that have terms; all runs of a row are as long.

    `runs` has the terms of each run by row.
    """
    return [
        TermPart(row, task, *np.mean([terms[task] for terms in known], axis=0).tolist())
        for row, every in runs.items()
        if (known := [terms for terms in every if terms])
        for task in TASK_NAMES
    ]


def terms_of(cell: Cell, out: Path) -> Terms:
    """The means over a finished run's steps, by task; none where its log tells no noise apart."""
    lines = list(_lines(cell.folder(out) / RUN / LOG))
    if not any(_OF_NOISE in line for line in lines):
        return {}
    names = (_TERM, _OF_NOISE, _OF_DROPOUT)
    return {task: [_mean(lines, task, name) for name in names] for task in TASK_NAMES}


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.is_file():
        with path.open(encoding="utf-8") as stream:
            yield from (line for text in stream if _TERM in (line := json.loads(text)))


def _mean(lines: Sequence[Mapping[str, Any]], task: str, name: str) -> float:
    values = [line[name] for line in lines if line["task"] == task and name in line]
    return float(np.mean(values)) if values else 0.0

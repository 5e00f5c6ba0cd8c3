"""Finished runs as far as the analysis needs them, and the file that has them.

A run's folder holds megabytes of predictions. The file has a line a run, so that an experiment of
many hours can be carried to another machine, and its tables can be printed anew from it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minbert.experiments.equal.budget import TASK_NAMES
from minbert.experiments.equal.terms import Terms, terms_of
from minbert.experiments.grid import gaps
from minbert.experiments.grid.cells import Cell
from minbert.experiments.grid.gaps import Gap
from minbert.experiments.grid.made_with import made_with
from minbert.experiments.grid.results import CellResult
from minbert.support import durable_files, untrusted
from minbert.support.errors import InputError

FILE = "runs.jsonl"


@dataclass(frozen=True)
class Measured:
    """A finished run. `key` is its cell's, which tells code, settings, data and weights.

    `rows` are the scored examples that have a label, by task; `seconds` those of training.
    """

    key: str
    row: str
    seed: int
    command: str
    scores: Mapping[str, float]
    rows: Mapping[str, int]
    seconds: float
    made_with: str
    terms: Terms

    @classmethod
    def of(cls, cell: Cell, result: CellResult, out: Path) -> Measured:
        """What a finished cell's folder says."""
        labels = {task: result.dev[f"{task}_labels"] for task in TASK_NAMES}
        return cls(
            cell.key,
            cell.row,
            cell.seed,
            cell.command,
            {task: result.scores[task] for task in TASK_NAMES},
            {task: int((~np.isnan(values)).sum()) for task, values in labels.items()},
            result.seconds,
            made_with(result.manifest),
            terms_of(cell, out),
        )

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Measured:
        """From a line of the file. Raises ValueError, TypeError or KeyError for anything else."""
        one = cls(**record)
        scores = {task: float(one.scores[task]) for task in TASK_NAMES}
        rows = {task: int(one.rows[task]) for task in TASK_NAMES}
        terms = {task: [float(part) for part in parts] for task, parts in one.terms.items()}
        if terms and {task: len(parts) for task, parts in terms.items()} != dict.fromkeys(rows, 3):
            raise ValueError("terms")
        return dataclasses.replace(
            one, scores=scores, rows=rows, seconds=float(one.seconds), terms=terms
        )


class Runs:
    """The runs that are finished, by key: those of a file, and those of the runner's folder."""

    def __init__(self, out: Path, known: Path | None) -> None:
        """Begin with the runs of the file `known`. Raises InputError where it cannot be read."""
        self._out, self._written = out, 0
        self.found = {} if known is None else {run.key: run for run in read_file(known)}

    def open(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells that the runner has to bring to their results."""
        return [cell for cell in cells if cell.key not in self.found]

    def look(self, cells: Sequence[Cell]) -> list[Gap]:
        """Read the cells that have ended; return those that have no result.

        Then the folder's file has all that are found.
        """
        still = self.open(cells)
        results, missing = gaps.read(still, self._out)
        for cell in still:
            if cell.key in results:
                self.found[cell.key] = Measured.of(cell, results[cell.key], self._out)
        if len(self.found) > self._written:
            write_file(self._out / FILE, list(self.found.values()))
            self._written = len(self.found)
        return missing


def write_file(path: Path, runs: Sequence[Measured]) -> None:
    """Write a line for each run, in one step."""
    lines = (json.dumps(dataclasses.asdict(run), ensure_ascii=False) for run in runs)
    durable_files.write_text(path, "".join(f"{line}\n" for line in lines))


def read_file(path: Path) -> list[Measured]:
    """The runs of a file. Raises InputError where a line is no such run."""
    found = []
    for number, line in enumerate(untrusted.read_text(path).splitlines(), start=1):
        try:
            found.append(Measured.read(untrusted.parsed(line)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{path}:{number}: not a run as {FILE} has it ({error})") from error
    return found

"""All that the report shows, gathered from the finished runs of both stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbert.experiments.equal import analysis
from minbert.experiments.equal.analysis import Contrast, Noise, Scores
from minbert.experiments.equal.arms import Tuned
from minbert.experiments.equal.budget import TASK_NAMES, Spending
from minbert.experiments.equal.design import Design
from minbert.experiments.equal.terms import TermPart, term_parts
from minbert.experiments.grid import gaps
from minbert.experiments.grid.cells import Cell
from minbert.experiments.grid.gaps import Gap
from minbert.experiments.grid.results import CellResult
from minbert.support.errors import RunError


@dataclass(frozen=True)
class Outcome:
    """The experiment's results. `draws` are those that every arm has finished."""

    design: Design
    every: Mapping[str, Tuned]
    reached: Mapping[str, float]  # configuration -> dev points in tuning
    chosen: Mapping[str, Tuned]  # by arm
    cells: Sequence[Cell]
    results: Mapping[str, CellResult]
    missing: Sequence[Gap]
    draws: Sequence[int]
    scores: Scores
    contrasts: Sequence[Contrast]
    noise: Sequence[Noise]
    terms: Sequence[TermPart]

    @property
    def spent(self) -> Mapping[str, Spending]:
        """What a run of each arm spends."""
        return self.design.spent


def gather(
    design: Design,
    every: Mapping[str, Tuned],
    reached: Mapping[str, float],
    chosen: Mapping[str, Tuned],
    tuning: Sequence[Cell],
    cells: Sequence[Cell],
    out: Path,
) -> Outcome:
    """Read the comparison's runs and analyse them. Raises RunError with fewer than two draws."""
    results, missing = gaps.read(cells, out)
    found = {(cell.row, cell.seed): results[cell.key] for cell in cells if cell.key in results}
    seeds = dict.fromkeys(cell.seed for cell in cells)
    draws = [seed for seed in seeds if all((arm, seed) in found for arm in chosen)]
    if len(draws) < 2:
        raise RunError(f"{len(draws)} draws are finished in every arm: two are needed to compare")
    scores = {
        arm: {task: [found[arm, seed].scores[task] for seed in draws] for task in TASK_NAMES}
        for arm in chosen
    }
    contrasts = analysis.contrasts(scores)
    return Outcome(
        design,
        every,
        reached,
        chosen,
        cells,
        results,
        missing,
        draws,
        scores,
        contrasts,
        analysis.noise(scores, contrasts),
        term_parts([*tuning, *cells], out),
    )

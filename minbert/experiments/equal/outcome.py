"""All that the report shows, gathered from the finished runs of both stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minbert.experiments.equal import analysis
from minbert.experiments.equal.analysis import Contrast, Noise, Scores
from minbert.experiments.equal.arms import Tuned
from minbert.experiments.equal.budget import TASK_NAMES, Spending
from minbert.experiments.equal.design import Design
from minbert.experiments.equal.measured import Measured
from minbert.experiments.equal.terms import TermPart, Terms, term_parts
from minbert.experiments.grid.cells import Cell
from minbert.experiments.grid.gaps import Gap
from minbert.support.errors import RunError


@dataclass(frozen=True)
class Outcome:
    """The experiment's results. `draws` are those that every arm has finished."""

    design: Design
    every: Mapping[str, Tuned]
    reached: Mapping[str, float]  # configuration -> dev points in tuning
    chosen: Mapping[str, Tuned]  # by arm
    cells: Sequence[Cell]
    results: Mapping[str, Measured]
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
    results: Mapping[str, Measured],
    missing: Sequence[Gap],
) -> Outcome:
    """Analyse the comparison's runs. Raises RunError with fewer than two whole draws.

    `results` are the finished runs of both stages by key, `missing` the comparison's others.
    """
    found = {(cell.row, cell.seed): results[cell.key] for cell in cells if cell.key in results}
    seeds = dict.fromkeys(cell.seed for cell in cells)
    draws = [seed for seed in seeds if all((arm, seed) in found for arm in chosen)]
    if len(draws) < 2:
        raise RunError(f"{len(draws)} draws are finished in every arm: two are needed to compare")
    scores = {
        arm: {task: [found[arm, seed].scores[task] for seed in draws] for task in TASK_NAMES}
        for arm in chosen
    }
    terms: dict[str, list[Terms]] = {}
    for cell in (*tuning, *cells):
        if cell.key in results:
            terms.setdefault(cell.row, []).append(results[cell.key].terms)
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
        term_parts(terms),
    )

"""Figures 3, 4 and 5 of the R3F paper as data: which scores each shows, and what it claims.

A series is a panel: its rows are pairs (method, point), each with the probes whose mean it shows.
A contrast is a weighted sum of a series' rows, positive where the paper's claim is true.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from minbert.experiments.probe.chain import Place
from minbert.experiments.probe.config import (
    CYCLES,
    R3F,
    R4F,
    SMART,
    STANDARD,
    STDPP,
    ProbeConfig,
)

Row = tuple[str, str]  # method, point on the x axis
Probe = tuple[Place, str]  # where, and which task
MEAN = "mean"


@dataclass(frozen=True)
class Series:
    """A panel. `rows` have the probes whose mean score is shown."""

    figure: str
    name: str  # the probed task, or `mean`
    rows: Mapping[Row, Sequence[Probe]]

    @property
    def methods(self) -> list[str]:
        """The methods shown, in order."""
        return list(dict.fromkeys(method for method, _ in self.rows))

    @property
    def points(self) -> list[str]:
        """The points of the x axis, in order."""
        return list(dict.fromkeys(point for _, point in self.rows))


@dataclass(frozen=True)
class Contrast:
    """A claim: the weighted sum of rows that it says is positive. Weights add up to 0."""

    series: Series
    claim: str
    weights: Mapping[Row, float]


def series_of(config: ProbeConfig, figure: str) -> list[Series]:
    """The panels of a figure."""
    return list({"3": _generalization, "4": _degradation, "5": _retention}[figure](config))


def contrasts_of(config: ProbeConfig, figure: str) -> list[Contrast]:
    """What is tested of a figure; see docs/collapse.md. Claims of methods not run are left out."""
    make = {"3": _generalizes, "4": _degrades, "5": _retains}[figure]
    return [
        contrast
        for series in series_of(config, figure)
        for contrast in make(series)
        if contrast.weights.keys() <= series.rows.keys()
    ]


def _generalization(config: ProbeConfig) -> Iterator[Series]:
    methods, first = config.methods_of("3"), config.chain[0]
    point = f"after {first}"
    rows = {
        task: {(m, point): [(Place(m, 1, first), task)] for m in methods}
        for task in config.probe_tasks
    }
    yield from (Series("3", task, own) for task, own in rows.items())
    if len(rows) > 1:
        every = {
            row: [probe for own in rows.values() for probe in own[row]]
            for row in rows[config.probe_tasks[0]]
        }
        yield Series("3", MEAN, every)


def _degradation(config: ProbeConfig) -> Iterator[Series]:
    source = config.chain[0]
    rows = {
        (method, f"{number}: {task}"): [(Place(method, number, task), source)]
        for method in config.methods_of("4")
        for number, task in enumerate(config.chain, start=1)
    }
    yield Series("4", source, rows)


def _retention(config: ProbeConfig) -> Iterator[Series]:
    """The task that comes next is probed before it is trained again."""
    panels: dict[str, dict[Row, Sequence[Probe]]] = {}
    length = len(config.chain)
    for before, task in enumerate(config.chain[1:]):
        panels[task] = {
            (method, f"cycle {cycle + 1}"): [
                (Place(method, cycle * length + before + 1, config.chain[before]), task)
            ]
            for method in config.methods_of("5")
            for cycle in range(CYCLES)
        }
    yield from (Series("5", task, rows) for task, rows in panels.items())
    if len(panels) > 1:
        rows = next(iter(panels.values()))
        every = {row: [probe for own in panels.values() for probe in own[row]] for row in rows}
        yield Series("5", MEAN, every)


def _generalizes(series: Series) -> Iterator[Contrast]:
    (point,) = series.points
    for ours in (R3F, R4F):
        for other in (STANDARD, STDPP, SMART):
            weights = {(ours, point): 1.0, (other, point): -1.0}
            yield Contrast(series, f"{ours} above {other}", weights)


def _degrades(series: Series) -> Iterator[Contrast]:
    first, *later = series.points
    for point in later:
        falls = {(STANDARD, first): 1.0, (STANDARD, point): -1.0}
        yield Contrast(series, f"{STANDARD} falls from {first} to {point}", falls)
        less = {**falls, (R4F, first): -1.0, (R4F, point): 1.0}
        yield Contrast(series, f"{R4F} falls less from {first} to {point}", less)
    if later:
        ends = {(R4F, later[-1]): 1.0, (STANDARD, later[-1]): -1.0}
        yield Contrast(series, f"{R4F} above {STANDARD} at {later[-1]}", ends)


def _retains(series: Series) -> Iterator[Contrast]:
    for point in series.points:
        weights = {(R4F, point): 1.0, (STDPP, point): -1.0}
        yield Contrast(series, f"{R4F} above {STDPP}, {point}", weights)

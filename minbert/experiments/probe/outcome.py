"""What the finished steps say: scores and predictions of every probe, drift of every encoder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minbert.experiments.grid.cells import RESULT
from minbert.experiments.grid.gaps import Gap
from minbert.experiments.probe.chain import Place, Plan, Probing
from minbert.experiments.probe.config import ProbeConfig
from minbert.experiments.probe.process import read_arrays
from minbert.experiments.probe.steps import PRETRAINED, RANDOM, SECONDS, Step
from minbert.support import untrusted
from minbert.support.errors import InputError, RunError


@dataclass(frozen=True)
class Checkpoint:
    """An encoder's probes by one solver: records and arrays by task, and its drift."""

    place: Place
    seed: int
    solver: str
    records: Mapping[str, Mapping[str, Any]]
    arrays: Mapping[str, NDArray[Any]]
    drift: Mapping[str, Any]

    def score(self, task: str) -> float:
        """The probe's dev score."""
        return float(self.records[task]["score"])


@dataclass(frozen=True)
class Scores:
    """The checkpoints of one solver by place and seed; `seeds` are those that are whole."""

    solver: str
    seeds: Sequence[int]
    of: Mapping[tuple[Place, int], Checkpoint]

    def at(self, place: Place) -> list[Checkpoint]:
        """A place's checkpoints: one a seed, and of the pretrained encoder a single one."""
        single = place.method == PRETRAINED
        found = ((seed, own) for (there, seed), own in self.of.items() if there == place)
        return [own for seed, own in found if single or seed in self.seeds]

    def values(self, place: Place, task: str) -> list[float]:
        """The place's scores, a seed each."""
        return [own.score(task) for own in self.at(place)]

    def predictions(self, place: Place, task: str) -> NDArray[Any]:
        """The place's dev predictions, (seeds, n)."""
        return np.stack([own.arrays[f"{task}_predictions"] for own in self.at(place)])

    def labels(self, place: Place, task: str) -> NDArray[np.float64]:
        """The dev labels, (n,)."""
        labels: NDArray[np.float64] = self.at(place)[0].arrays[f"{task}_labels"]
        return labels

    @property
    def places(self) -> list[Place]:
        """Every place that has checkpoints, in the order of the plan."""
        return list(dict.fromkeys(place for place, _ in self.of))

    @property
    def links(self) -> list[Checkpoint]:
        """The checkpoints that are no references."""
        return [own for place in self.places if place.link for own in self.at(place)]


@dataclass(frozen=True)
class Outcome:
    """Everything that the report shows."""

    config: ProbeConfig
    plan: Plan
    by_solver: Mapping[str, Scores]
    missing: Sequence[Gap]
    hours: Mapping[str, float]  # by kind of step
    pretrained: str  # SHA-256 of the pretrained encoder's weights


def gather(config: ProbeConfig, plan: Plan, out: Path) -> Outcome:
    """Read the probes. Raises RunError where no seed is whole."""
    missing: list[Gap] = []
    found = [own for probing in plan.probings if (own := _read(probing, out, missing))]
    by_solver = {name: _scores(name, plan, found) for name in config.probe_solver}
    if not all(scores.seeds for scores in by_solver.values()):
        first = f" ({missing[0]})" if missing else ""
        raise RunError(f"no seed has all of its probes{first}; the same command tries it again")
    (base, *_) = (p.features for p in plan.probings if p.place.method == PRETRAINED)
    digest = untrusted.read_object(base.folder(out) / RESULT)["encoder"]["weights"]
    return Outcome(config, plan, by_solver, missing, _hours(plan.steps, out), str(digest))


def _read(probing: Probing, out: Path, missing: list[Gap]) -> Checkpoint | None:
    step = probing.probes
    try:
        if not (step.folder(out) / RESULT).exists():
            missing.append(Gap(step.name, step.failure(out)))
            return None
        records = untrusted.read_object(step.folder(out) / RESULT)["probes"]
        drift = untrusted.read_object(probing.features.folder(out) / RESULT)["drift"]
        arrays = read_arrays(step.folder(out))
    except (RunError, InputError, OSError, KeyError, json.JSONDecodeError) as error:
        missing.append(Gap(step.name, str(error)))
        return None
    return Checkpoint(probing.place, probing.seed, step.solver, records, arrays, drift)


def _scores(solver: str, plan: Plan, found: Sequence[Checkpoint]) -> Scores:
    of = {(own.place, own.seed): own for own in found if own.solver == solver}
    wanted = {
        (probing.place, probing.seed)
        for probing in plan.probings
        if probing.probes.solver == solver
    }
    lost = wanted - of.keys()
    every = any(place.method == PRETRAINED for place, _ in lost)  # all are compared with it
    broken = set(plan.seeds) if every else {seed for _, seed in lost}
    return Scores(solver, [seed for seed in plan.seeds if seed not in broken], of)


def references(scores: Scores) -> list[Place]:
    """The pretrained encoder and the random ones, as far as they are there."""
    return [place for place in scores.places if place.method in (PRETRAINED, RANDOM)]


def _hours(steps: Sequence[Step], out: Path) -> Mapping[str, float]:
    hours: dict[str, float] = {}
    for step in steps:
        path = step.folder(out) / SECONDS
        if path.is_file():
            seconds = float(path.read_text(encoding="utf-8"))
            hours[step.kind] = hours.get(step.kind, 0.0) + seconds / 3600
    return hours

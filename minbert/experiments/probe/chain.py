"""The plan: links of every method and seed, the features of every encoder, and their probes."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from minbert.experiments.grid.cells import configuration, quietly
from minbert.experiments.grid.experiment import BASE_SEED, flags_in
from minbert.experiments.probe.config import METHODS, R3F, R4F, SMART, STDPP, ProbeConfig
from minbert.experiments.probe.steps import FEATURES, LINK, PRETRAINED, PROBES, RANDOM, Step
from minbert.support.errors import InputError
from minbert.tasks.glue import GLUE
from minbert.tasks.registry import BUILT_IN, TASKS

_JOINT = "--cross_encoder"
_DECIDED = (
    *("--seed", "--output_dir", "--resume", "--limit", "--epochs", "--tasks", "--rrobin"),
    *("--dev_only", "--option", "--stdpp", "--smart", "--r3f", "--r4f"),
)
_COST = {STDPP: 2.0, SMART: 4.0, R3F: 2.0, R4F: 2.0}  # beside a standard link


@dataclass(frozen=True)
class Place:
    """Where in a chain an encoder stands: after `link` links, counted from 1; 0 is a reference.

    The tables call it by its `row`.
    """

    method: str
    link: int = 0
    task: str = ""

    @property
    def row(self) -> str:
        """The name in tables."""
        return f"{self.method} {self.link} ({self.task})" if self.link else self.method


@dataclass(frozen=True)
class Probing:
    """The probes of one encoder by one solver, and the steps that lead there."""

    place: Place
    seed: int
    features: Step
    probes: Step


@dataclass(frozen=True)
class Plan:
    """Every step, those that others need first, and what is probed where.

    `input` is the vector that probes read.
    """

    links: Sequence[Step]
    probings: Sequence[Probing]
    seeds: Sequence[int]
    input: str

    @property
    def steps(self) -> list[Step]:
        """Every step once, a seed's after each other."""
        every = [*self.links]
        for probing in self.probings:
            every += [probing.features, probing.probes]
        unique = list({step.key: step for step in every}.values())
        order = {LINK: 1, FEATURES: 0, PROBES: 0}  # what frees an encoder goes first
        return sorted(unique, key=lambda step: (step.seed, order[step.kind]))


def plan(config: ProbeConfig, extra: Sequence[str]) -> Plan:
    """Plan the experiment. `extra` are the main job's flags for all links.

    Raises InputError where a flag is wrong, or the experiment decides it.
    """
    for name in sorted(flags_in(extra)):
        if name in _DECIDED or name.endswith("_out"):
            raise InputError(f"{name}: is decided by the experiment, not given after --")
    _check_heads(config, flags_in(extra))
    return _Planner(config, tuple(extra)).plan()


def _check_heads(config: ProbeConfig, extra: Collection[str]) -> None:
    """Refuse now what would fail in a later link: R4F normalises a head that has no weights."""
    if config.links_of(R4F) == 0 or {_JOINT, "--rlayer"} & set(extra):
        return
    for task in config.chain[: config.links_of(R4F)]:
        if task in TASKS and not TASKS[task].head_has_weights:
            raise InputError(
                f"--methods {R4F} --chain {task}: its head has no weights to normalise; add "
                f"{_JOINT} after --, or leave out one of them"
            )


@dataclass(frozen=True)
class _Planner:
    config: ProbeConfig
    extra: tuple[str, ...]

    def plan(self) -> Plan:
        seeds = range(BASE_SEED, BASE_SEED + self.config.how_much.seeds)
        command = self._probe_command()
        name = self.config.probe_input or _trained_input(command)
        base = Step(PRETRAINED, BASE_SEED, command, "", 0.2, FEATURES)
        with quietly():
            base = self._features(base)
            references = [(Place(PRETRAINED), BASE_SEED, base)]
            links: list[Step] = []
            for seed in seeds:
                random = Step(RANDOM, seed, command, "", 0.2, FEATURES, reference=base.key)
                references.append((Place(RANDOM), seed, self._features(random)))
                for place, link in self._links(seed):
                    links.append(link)
                    features = self._features(
                        Step(
                            f"features of {place.row}",
                            *(seed, command, "", 0.2, FEATURES, link.key, base.key),
                        )
                    )
                    references.append((place, seed, features))
            probings = [
                Probing(place, seed, features, self._probes(place, seed, features, name, solver))
                for place, seed, features in references
                for solver in self.config.probe_solver
            ]
        return Plan(links, probings, list(seeds), name)

    def _features(self, step: Step) -> Step:
        return replace(step, drift_texts=self.config.sizes.drift_texts).keyed()

    def _probes(self, place: Place, seed: int, features: Step, name: str, solver: str) -> Step:
        row, command = f"{solver} probes of {place.row}", features.command
        kind = Step(row, seed, command, "", 0.3, PROBES, features.key, "", solver, name)
        return replace(kind, updates=self.config.sizes.updates).keyed()

    def _links(self, seed: int) -> Iterator[tuple[Place, Step]]:
        """Every method's chain of links, each with the one before as its parent."""
        for method in self.config.methods:
            parent = ""
            for number in range(self.config.links_of(method)):
                task = self.config.chain[number % len(self.config.chain)]
                place = Place(method, number + 1, task)
                cost = _COST.get(method, 1.0)
                command = self._link_command(method, task, seed)
                step = Step(place.row, seed, command, "", cost, LINK, parent).keyed()
                yield place, step
                parent = step.key

    def _link_command(self, method: str, task: str, seed: int) -> str:
        own = METHODS[method]
        extra = _acting(self.extra, (task,))
        size = self.config.how_much.flags(own)
        first = f"--option finetune --tasks {task} --dev_only"
        return _joined(first, own, size, shlex.join(extra), f"--seed {seed}")

    def _probe_command(self) -> str:
        """The flags of the main job that name encoder, data and rows of all probes."""
        tasks, rows = self.config.probed, self.config.sizes.probe_rows
        extra = [word for word in _acting(self.extra, tasks) if word != _JOINT]
        together = _JOINT if self.config.probe_pairs == "together" else ""
        robin = "--rrobin" if len(tasks) > 1 else ""
        first = f"--option finetune --tasks {','.join(tasks)} --dev_only"
        limit = f"--limit {rows}" if rows else ""
        return _joined(first, robin, limit, together, shlex.join(extra))


def _joined(*parts: str) -> str:
    return " ".join(filter(None, parts))


def _acting(words: Sequence[str], tasks: Sequence[str]) -> list[str]:
    """The words without flags, and their values, that name data of other tasks than these.

    The main job refuses flags that do nothing, and a chain has links of several tasks.
    """
    kept: list[str] = []
    acts = True
    for word in words:
        if word.startswith("--"):
            acts = _acts(word.partition("=")[0], tasks)
        if acts:
            kept.append(word)
    return kept


def _acts(flag: str, tasks: Sequence[str]) -> bool:
    if flag in ("--glue_dir", "--data_dir"):
        return any((task in GLUE) == (flag == "--glue_dir") for task in tasks)
    others = (name for name in BUILT_IN if name not in tasks)
    return not any(flag.startswith(f"--{name}_") for name in others)


def _trained_input(command: str) -> str:
    """The vector that links train: BERT's pooler, or the mean."""
    return "mean" if configuration(command).pooling == "mean" else "pooled"

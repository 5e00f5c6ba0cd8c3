"""`RunConfig`: everything that decides a run, and which flags go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from minbert.finetune.flags import (
    ALONE_OUT,
    TOGETHER_OUT,
    DataFlags,
    MachineFlags,
    ModelFlags,
    OptimizationFlags,
    OutputFlags,
    TrainingFlags,
    named_out,
)
from minbert.finetune.regularizer_flags import (
    FREELB,
    R3F_VARIANTS,
    SMART_VARIANTS,
    RegularizerFlags,
)
from minbert.support.errors import InputError
from minbert.support.flags import IdleRule, check_values, shown
from minbert.tasks.mixing import ANNEALED, MIXINGS, PRE, TEMPERATURE, WITH_ROUNDS

COURSE_TASKS = ("sst", "para", "sts")
KNOWN_TASKS = (*COURSE_TASKS, "cfimdb")
UNSET = ("lr", "epochs", "batch_size", "pooling")  # None until `resolved()`
COURSE_RATES = {"pretrain": 1e-3, "finetune": 1e-5}


@dataclass(frozen=True)
class RunConfig(  # a dataclass takes its fields, and --help its groups, from the last base first
    OutputFlags,
    MachineFlags,
    RegularizerFlags,
    OptimizationFlags,
    ModelFlags,
    DataFlags,
    TrainingFlags,
):
    """Everything that decides a run. Defaults are the course's.

    What `UNSET` names may be None here; `resolved()` fills it in.
    """

    def __post_init__(self) -> None:
        check_values(self)
        _check_combinations(self)

    @property
    def trained_tasks(self) -> tuple[str, ...]:
        """The tasks whose batches train: `tasks`, or what leaving it out means."""
        if self.tasks is not None:
            return self.tasks
        return COURSE_TASKS if self.rrobin else COURSE_TASKS[:1]

    @property
    def single_task(self) -> bool:
        """Whether this is the course's single-task job: one task, asked for by name."""
        return self.tasks is not None and len(self.tasks) == 1

    @property
    def evaluated_tasks(self) -> tuple[str, ...]:
        """The course's three tasks and whatever else trains; of a single task that one."""
        if self.single_task:
            return self.trained_tasks
        return tuple(dict.fromkeys((*COURSE_TASKS, *self.trained_tasks)))

    @property
    def earlier_epochs(self) -> int:
        """Epochs before the `epochs` of the schedule."""
        return self.pre_epochs if self.rrobin == PRE else 0

    def resolved(self, recommended: Mapping[str, Any] | None = None) -> RunConfig:
        """This configuration with rates, epochs, batch size and pooling filled in where unset.

        They take the `recommended` values, where there are some, else the course's; `head_lr` may
        stay None, which is `lr`. The prediction files of what is evaluated get their names.
        """
        course = {"epochs": 10, "batch_size": 8, "pooling": "cls"}
        values = {"lr": COURSE_RATES[self.option], **course, **self.followed(recommended or {})}
        if self.stdpp:
            values["epochs"] *= 2
        unset = {name: value for name, value in values.items() if getattr(self, name) is None}
        named: dict[str, Any] = {
            f"{task}_{split}_out": self.out_file(task, split)
            for task in self.evaluated_tasks
            for split in ("dev", "test")
        }
        return dataclasses.replace(self, **unset, **named)

    def followed(self, recommended: Mapping[str, Any]) -> dict[str, Any]:
        """What of `recommended` fills something unset.

        A `head_lr` is taken beside the `lr` that it goes with, and where it acts.
        """
        unset = {name: v for name, v in recommended.items() if getattr(self, name) is None}
        if "lr" not in unset or self.option != "finetune" or not _has_head_weights(self):
            unset.pop("head_lr", None)
        return unset

    def file(self, task: str, split: str) -> str:
        """The path given, or defaulted, for a task's `train`, `dev` or `test` file."""
        return str(getattr(self, f"{task}_{split}"))

    def out_file(self, task: str, split: str) -> str:
        """The path of a task's prediction file for `dev` or `test`."""
        named = getattr(self, f"{task}_{split}_out")
        if named is None:
            alone = self.single_task or task not in COURSE_TASKS
            named = named_out(ALONE_OUT if alone else TOGETHER_OUT, task, split)
        return str(named).replace("{option}", self.option)


# --------------------------------------------------------------------------------- combinations

PAIR_TASKS = ("para", "sts")


def _check_combinations(config: RunConfig) -> None:
    """Refuse what contradicts itself, whichever flags were typed."""
    trained = config.trained_tasks
    if not trained:
        raise InputError("--tasks: names no task")
    for name in trained:
        if name not in KNOWN_TASKS:
            raise InputError(f"--tasks {name}: no such task; there are: {', '.join(KNOWN_TASKS)}")
    if len(set(trained)) < len(trained):
        raise InputError(f"--tasks {','.join(trained)}: a task is named twice")
    if len(trained) > 1 and not config.rrobin:
        raise InputError(f"--tasks {','.join(trained)}: several tasks need --rrobin")
    if len(trained) < 2 and config.rrobin:
        raise InputError(f"--rrobin with --tasks {','.join(trained)}: needs two tasks or more")
    _check_schedule(config)
    _check_named_tasks(config)
    if config.freelb and (config.smart or config.r3f or config.r4f):
        other = "--smart" if config.smart else "--r3f" if config.r3f else "--r4f"
        raise InputError(
            f"--freelb {other}: FreeLB takes the place of the training pass that {other} works from"
        )
    if config.no_adversarial and config.compat in SMART_VARIANTS:
        raise InputError(
            f"--no_adversarial --compat {config.compat}: nothing is left of --smart, since that "
            "implementation has no other term"
        )
    if config.no_adversarial and config.no_bregman:
        raise InputError("--no_adversarial --no_bregman: nothing is left of --smart")
    _check_ranks(config)
    if config.use_gpu and config.device == "cpu":
        raise InputError("--use_gpu --device cpu: they contradict each other")


def _check_ranks(config: RunConfig) -> None:
    if config.ranks > 1 and config.smart and config.compat in SMART_VARIANTS:
        raise InputError(
            f"--ranks {config.ranks} --compat {config.compat}: what that implementation adds up "
            "depends on all of a batch, and each rank has a part"
        )
    if config.ranks > (config.batch_size or config.ranks):
        raise InputError(f"--ranks {config.ranks} --batch_size {config.batch_size}: too few rows")


def _check_schedule(config: RunConfig) -> None:
    kind = config.rrobin
    if kind is not None and kind not in MIXINGS:
        raise InputError(f"--rrobin {kind}: no such schedule; there are: {', '.join(MIXINGS)}")
    if kind == PRE and config.pre_task not in config.trained_tasks:
        trained = ", ".join(config.trained_tasks)
        raise InputError(f"--pre_task {config.pre_task}: does not train: {trained}")
    if kind == ANNEALED and config.epochs == 1:
        raise InputError("--rrobin annealed --epochs 1: needs two epochs or more to change in")
    if config.steps_per_task == "summed" and kind not in (None, *WITH_ROUNDS):
        rounds = ", ".join(WITH_ROUNDS)
        raise InputError(
            f"--steps_per_task summed --rrobin {kind}: there are no rounds to sum over; "
            f"there are in: {rounds}"
        )


def _check_named_tasks(config: RunConfig) -> None:
    """Numbers a task must name tasks that train; where none may be left out, all of them."""
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if not isinstance(value, dict):
            continue
        for name in value:
            if name not in config.trained_tasks:
                trained = ", ".join(config.trained_tasks)
                raise InputError(f"--{entry.name} {shown(value)}: {name} does not train: {trained}")
        missing = [name for name in config.trained_tasks if name not in value]
        if missing and entry.metadata["group"] == FREELB:
            raise InputError(f"--{entry.name} {shown(value)}: names no number for {missing[0]}")


def idle_rules() -> list[IdleRule]:
    """When each flag acts: outside that it would silently do nothing."""
    ascent = ("lambda", "epsilon", "sigma", "eta", "steps", "reuse_clean")
    adversarial = tuple(f"smart_{name}" for name in ascent)
    bregman = ("bregman_mu", "bregman_beta")
    freelb = tuple(f"freelb_{name}" for name in ("steps", "lr", "init", "radius"))
    r3f = tuple(f"r3f_{name}" for name in ("lambda", "noise", "sigma", "dropout"))
    smart = (*adversarial, *bregman, "smart_dropout", "no_adversarial", "no_bregman")
    reuse = ("smart_reuse_clean",)
    several = "--freelb_steps above 1"
    by_size = f"--rrobin {' or '.join(name for name in MIXINGS if name not in WITH_ROUNDS)}"
    no_adversarial = "the adversarial term (--no_adversarial)"
    return [
        IdleRule(
            ("compat",), _has_variant, "--smart (mtdnn, smart-pytorch), --r3f or --r4f (fairseq)"
        ),
        IdleRule(smart, lambda c: c.smart, "--smart"),
        IdleRule(("smart_epsilon",), _is_papers_smart, "--compat paper: the others have no ball"),
        IdleRule(
            ("no_bregman", *bregman),
            _is_papers_smart,
            "--compat paper: the others have no such term",
        ),
        IdleRule(adversarial, lambda c: not c.no_adversarial, no_adversarial),
        IdleRule(bregman, lambda c: not c.no_bregman, "the Bregman term (--no_bregman)"),
        IdleRule(("smart_eta", *reuse), lambda c: c.smart_steps > 0, "--smart_steps above 0"),
        IdleRule(reuse, _trains(*PAIR_TASKS), "para or sts to train"),
        IdleRule(reuse, _is_papers_smart, "--compat paper"),
        IdleRule(reuse, lambda c: c.option == "finetune", "--option finetune"),
        IdleRule(
            reuse,
            lambda c: c.smart_dropout != "independent",
            "the same masks in both branches (--smart_dropout off or shared)",
        ),
        IdleRule(r3f, lambda c: c.r3f or c.r4f, "--r3f or --r4f"),
        IdleRule(("r3f",), lambda c: not c.r4f, "no --r4f, which has its term already"),
        IdleRule(("r4f_scope",), lambda c: c.r4f, "--r4f"),
        IdleRule(("r4f_scope",), lambda c: c.rlayer, "--rlayer: else a head has but one matrix"),
        IdleRule(freelb, lambda c: c.freelb, "--freelb"),
        IdleRule(("freelb_lr", "freelb_radius"), lambda c: c.freelb_steps > 1, several),
        IdleRule(
            ("precision",),
            lambda c: not (c.freelb and c.precision == "bf16"),
            "no --freelb, whose passes are all fp32",
        ),
        IdleRule(("term_warmup",), lambda c: c.smart or c.r3f or c.r4f, "--smart, --r3f or --r4f"),
        IdleRule(
            ("limit_train",),
            lambda c: c.limit is None or (c.limit_train or 0) < c.limit,
            "a --limit above it, or none",
        ),
        IdleRule(("int8",), lambda c: c.option == "finetune", "--option finetune"),
        IdleRule(("head_lr",), lambda c: c.option == "finetune", "--option finetune"),
        IdleRule(("head_lr",), _has_head_weights, "a head with weights: --rlayer or another task"),
        IdleRule(("frozen_dropout",), lambda c: c.option == "pretrain", "--option pretrain"),
        IdleRule(("power",), lambda c: c.schedule == "polynomial", "--schedule polynomial"),
        IdleRule(("pre_task", "pre_epochs"), lambda c: c.rrobin == PRE, f"--rrobin {PRE}"),
        IdleRule(("temperature",), lambda c: c.rrobin == TEMPERATURE, f"--rrobin {TEMPERATURE}"),
        IdleRule(("epoch_batches",), lambda c: c.rrobin not in (None, *WITH_ROUNDS), by_size),
        IdleRule(("steps_per_task",), lambda c: c.rrobin is not None, "--rrobin"),
        IdleRule(("rlayer", "cross_encoder"), _trains(*PAIR_TASKS), "para or sts to train"),
        *(rule for task in KNOWN_TASKS for rule in _file_rules(task)),
    ]


def _file_rules(task: str) -> list[IdleRule]:
    needs = f"{task} to train (--tasks, --rrobin)"
    scored = (f"{task}_dev", f"{task}_test", f"{task}_dev_out", f"{task}_test_out")
    return [
        IdleRule((f"{task}_train",), _trains(task), needs),
        IdleRule(scored, lambda config: task in config.evaluated_tasks, needs),
    ]


def _trains(*tasks: str) -> Callable[[RunConfig], bool]:
    return lambda config: any(task in config.trained_tasks for task in tasks)


def _has_head_weights(config: RunConfig) -> bool:
    """Whether anything but a cosine of two vectors stands over the encoder."""
    return config.rlayer or config.cross_encoder or set(config.trained_tasks) != {"sts"}


def _has_variant(config: RunConfig) -> bool:
    """Whether a term is there that the implementation named by --compat has."""
    r3f = config.r3f or config.r4f
    if config.compat in SMART_VARIANTS:
        return config.smart
    return r3f if config.compat in R3F_VARIANTS else config.smart or r3f


def _is_papers_smart(config: RunConfig) -> bool:
    return config.compat not in SMART_VARIANTS

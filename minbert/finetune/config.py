"""`RunConfig`: everything that decides a run, and which settings contradict each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minbert.data.own_labels import with_labels
from minbert.finetune.data_flags import DataFlags
from minbert.finetune.file_flags import InputFileFlags, OutputFileFlags, ScaleFlags
from minbert.finetune.flags import (
    ModelFlags,
    OptimizationFlags,
    TrainingFlags,
    has_head_weights,
)
from minbert.finetune.machine_flags import MachineFlags
from minbert.finetune.rows import file_split
from minbert.regularizers import registry
from minbert.support.errors import InputError
from minbert.support.flags import check_values, shown
from minbert.tasks import xnli
from minbert.tasks.glue import GLUE
from minbert.tasks.mixing import ANNEALED, MIXINGS, PRE, WITH_ROUNDS
from minbert.tasks.own import Definition
from minbert.tasks.predictions import default_file
from minbert.tasks.registry import BUILT_IN, COURSE_TASKS, TASKS, learn
from minbert.tasks.task import Task
from minbert.tasks.task_file import read

Key = tuple[str, str]  # (task, split)

COURSE_RATES = {"pretrain": 1e-3, "finetune": 1e-5}
_COURSE = {"epochs": 10, "batch_size": 8, "pooling": "cls"}

# a class that has the flags of every regularizer; which these are only the registry knows
RegularizerFlags: Any = type(
    "RegularizerFlags", tuple(m.flags for m in reversed(registry.METHODS)), {}
)


@dataclass(frozen=True)
class RunConfig(  # a dataclass takes its fields, and --help its groups, from the last base first
    OutputFileFlags,  # type: ignore[misc]
    MachineFlags,
    RegularizerFlags,  # type: ignore[misc]
    registry.TermFlags,
    OptimizationFlags,
    ModelFlags,
    InputFileFlags,  # type: ignore[misc]
    DataFlags,
    ScaleFlags,  # type: ignore[misc]
    TrainingFlags,
):
    """Everything that decides a run, as it was typed. Defaults are the course's.

    Rates, epochs, batch size and pooling may be None, which is to be filled in by `resolved()`.
    """

    def __post_init__(self) -> None:
        # the files are read here and now: a configuration means the same ever after
        sources = (*(self.task_file or ()), *_benchmark_sources(self))
        definitions = tuple(own.as_json() for own in learn(sources, with_labels))
        object.__setattr__(self, "task_file", definitions or None)
        check_values(self)
        _check_tasks(self)
        _check_task_order(self)
        _check_numbers(self)
        registry.check(self)
        if self.ranks > (self.batch_size or self.ranks):
            raise InputError(f"--ranks {self.ranks} --batch_size {self.batch_size}: too few rows")
        if self.use_gpu and self.device == "cpu":
            raise InputError("--use_gpu --device cpu: they contradict each other")

    @property
    def trained_tasks(self) -> tuple[str, ...]:
        """The tasks whose batches train: `tasks`, or what leaving it out means."""
        if self.tasks is not None:
            return self.tasks
        if self.rrobin:
            return (*COURSE_TASKS, *self.own_tasks)
        return tuple(self.own_tasks) or COURSE_TASKS[:1]

    @cached_property
    def own_tasks(self) -> Mapping[str, Definition]:
        """The tasks that the user's files describe, by their names."""
        return {definition.name: definition for definition in map(read, self.task_file or ())}

    @property
    def glue_tasks(self) -> tuple[str, ...]:
        """The tasks of GLUE among those that `tasks` names."""
        return tuple(name for name in self.tasks or () if name in GLUE)

    @property
    def xnli_tasks(self) -> tuple[str, ...]:
        """The tasks of XNLI among those that `tasks` names."""
        return tuple(name for name in self.tasks or () if name.startswith(xnli.PREFIX))

    @property
    def single_task(self) -> bool:
        """Whether this is the course's single-task job: one task, asked for by name or file."""
        own = () if self.rrobin else self.own_tasks
        return len(own if self.tasks is None else self.tasks) == 1

    @property
    def evaluated_tasks(self) -> tuple[str, ...]:
        """The course's three tasks and whatever else trains; of a single task that one.

        With `dev_only`, what trains. Where only the user's own tasks train, they alone are
        evaluated.
        """
        own_alone = set(self.trained_tasks) <= self.own_tasks.keys()
        if self.single_task or self.dev_only or own_alone:
            return self.trained_tasks
        return tuple(dict.fromkeys((*COURSE_TASKS, *self.trained_tasks)))

    @property
    def scored_keys(self) -> tuple[Key, ...]:
        """Every (task, split) whose predictions are asked for."""
        names = self.evaluated_tasks
        if self.dev_only:
            return tuple((name, "dev") for name in names)
        return tuple((name, split) for name in names for split in TASKS[name].scored_splits)

    @property
    def predicted_keys(self) -> tuple[Key, ...]:
        """Every (task, split) that gets a prediction file."""
        return () if self.dev_only else self.scored_keys

    @property
    def read_keys(self) -> tuple[Key, ...]:
        """Every (task, split) whose rows are read: what is scored, and what trains."""
        return (*self.scored_keys, *((name, "train") for name in self.trained_tasks))

    @property
    def file_keys(self) -> tuple[Key, ...]:
        """Every (task, split) whose file is read."""
        keys = ((name, file_split(vars(self), split)) for name, split in self.read_keys)
        return tuple(dict.fromkeys(keys))

    @property
    def earlier_epochs(self) -> int:
        """Epochs before the `epochs` of the task order."""
        return self.pre_epochs if self.rrobin == PRE else 0

    def resolved(self, recommended: Mapping[str, Any] | None = None) -> ResolvedConfig:
        """This configuration with rates, epochs, batch size and pooling filled in where unset.

        They take the `recommended` values, where there are some, else the course's; `head_lr` may
        stay None, which is `lr`. The prediction files of what is evaluated get their names.
        """
        course = {"lr": COURSE_RATES[self.option], **_COURSE}
        values = {**course, **self.taken_from(recommended or {})}
        if self.stdpp:
            values["epochs"] *= 2
        settings = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        settings |= {name: value for name, value in values.items() if settings[name] is None}
        settings |= {
            f"{task}_{split}_out": self.out_file(task, split)
            for task, split in self.predicted_keys
            if task not in self.own_tasks
        }
        return ResolvedConfig(**settings)

    def taken_from(self, recommended: Mapping[str, Any]) -> dict[str, Any]:
        """The recommended values for settings that the user left unset.

        A recommended `head_lr` is taken only together with the recommended `lr`, and where it acts.
        """
        unset = {name: v for name, v in recommended.items() if getattr(self, name) is None}
        if "lr" not in unset or self.option != "finetune" or not has_head_weights(self):
            unset.pop("head_lr", None)
        return unset

    def task(self, name: str) -> Task:
        """A task as this run trains it: its entry, on the scale that is asked for."""
        task, scale = TASKS[name], getattr(self, f"{name}_scale", None)
        return task if scale in (None, task.top) else task.on_scale(scale)

    def file(self, task: str, split: str) -> str:
        """The path given, or defaulted, for a split's file."""
        if own := self.own_tasks.get(task):
            return own.files[split]
        return str(getattr(self, f"{task}_{split}"))

    def named_out(self, task: str, split: str) -> str | None:
        """The path that was named for a split's prediction file, None for the default one."""
        named: str | None = getattr(self, f"{task}_{split}_out", None)  # own tasks have no flag
        return named

    def out_file(self, task: str, split: str) -> str:
        """The path of a split's prediction file."""
        named = self.named_out(task, split)
        default = Path(self.predictions_dir) / default_file(
            TASKS[task], split, alone=self.single_task
        )
        return str(default if named is None else named).replace("{option}", self.option)


@dataclass(frozen=True)
class ResolvedConfig(RunConfig):
    """A configuration in which nothing is left open; `RunConfig.resolved()` makes it."""

    if TYPE_CHECKING:  # the same fields, never None
        lr: float = COURSE_RATES["finetune"]
        epochs: int = 10
        batch_size: int = 8
        pooling: str = "cls"


def _check_names() -> None:
    """Raise ValueError where a task or a regularizer brings a flag that is there already."""
    bases = [base for base in RunConfig.__mro__[1:] if "__dataclass_params__" in vars(base)]
    names = [name for base in bases for name in vars(base).get("__annotations__", {})]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"flags of the same name: {', '.join(sorted(twice))}")


_check_names()


def _benchmark_sources(config: RunConfig) -> Iterator[str]:
    """The definitions of GLUE's and XNLI's tasks, unless an earlier run has left them."""
    there = [read(source).name for source in config.task_file or ()]
    for name in config.glue_tasks:
        if name not in there:
            yield GLUE[name].definition(name, _folder(config, name, "glue_dir")).as_json()
    for name in config.xnli_tasks:
        if name not in there:
            folder = _folder(config, name, "xnli_dir")
            glue = None if config.glue_dir is None else _folder(config, name, "glue_dir")
            try:
                yield xnli.definition(name, folder, glue).as_json()
            except ValueError as error:
                raise InputError(f"--tasks {name}: {error}") from error


def _folder(config: RunConfig, task: str, flag: str) -> Path:
    folder = getattr(config, flag)
    if folder is None:
        raise InputError(f"--tasks {task}: give --{flag}, the folder of its files")
    if not Path(folder).is_dir():
        raise InputError(f"--{flag} {folder}: no such folder")
    return Path(folder)


def _check_tasks(config: RunConfig) -> None:
    """Raise InputError for tasks that are unknown, or too many or few for what else is asked."""
    trained = config.trained_tasks
    if not trained:
        raise InputError("--tasks: names no task")
    for name in trained:
        if name not in (known := (*BUILT_IN, *config.own_tasks)):
            raise InputError(f"--tasks {name}: no such task; there are: {', '.join(known)}")
    if len(set(trained)) < len(trained):
        raise InputError(f"--tasks {','.join(trained)}: a task is named twice")
    if len(trained) > 1 and not config.rrobin:
        raise InputError(f"--tasks {','.join(trained)}: several tasks need --rrobin")
    if len(trained) < 2 and config.rrobin:
        raise InputError(f"--rrobin with --tasks {','.join(trained)}: needs two tasks or more")


def _check_task_order(config: RunConfig) -> None:
    """Raise InputError for an order of tasks that does not exist or cannot be had here."""
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


def _check_numbers(config: RunConfig) -> None:
    """Raise InputError where a number of its own is given to a task that does not train."""
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        for name in value if isinstance(value, dict) else ():
            if name not in config.trained_tasks:
                trained = ", ".join(config.trained_tasks)
                raise InputError(f"--{entry.name} {shown(value)}: {name} does not train: {trained}")

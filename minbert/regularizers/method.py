"""What the main job must know of a regularizer: its flags, and what they make of a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.regularizers.base import Divergence, Regularizer
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.flags import PerTask, for_task
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Task
from minbert.training.plan import ByPasses


class BatchObjective(ByPasses[MultitaskBert, Batch], Protocol):
    """What a step minimises: the task's loss with its terms, or something in its place."""

    @property
    def perturbs_inputs(self) -> bool:
        """Whether it needs the word embeddings of every batch."""


def _never(_config: Any) -> bool:
    """Return False."""
    return False


def _allow(_config: Any) -> None:
    """Refuse nothing."""


def _no_terms(_config: Any, _model: MultitaskBert) -> list[Regularizer]:
    return []


def _leave(_config: Any, _model: MultitaskBert) -> None:
    """Leave the model as it is."""


def _no_remark(_config: Any, _model: MultitaskBert) -> str | None:
    return None


@dataclass(frozen=True)
class Recipe:
    """The settings that a method's paper trains with: words for --help, and flags for tasks."""

    name: str
    words: str
    flags: Callable[[Sequence[Task]], Mapping[str, Any]]


@dataclass(frozen=True)
class Method:
    """A regularizer as the main job offers it: filled in by its own file, listed in `registry.py`.

    Every function takes the run's configuration, which has the fields of all methods' `flags`.
    """

    flags: type  # a frozen dataclass whose fields `flag()` made
    switches: tuple[str, ...]  # the flags among them that ask for the method
    check: Callable[[Any], None] = _allow  # raises InputError for contradictions
    terms: Callable[[Any, MultitaskBert], list[Regularizer]] = _no_terms
    objective: Callable[[Any], BatchObjective] | None = None  # in place of loss and terms
    prepare: Callable[[Any, MultitaskBert], None] = _leave  # changes the model before training
    remark: Callable[[Any, MultitaskBert], str | None] = _no_remark  # a line after the scores
    # whether what it computes depends on all of a batch, so that no batch can be taken apart
    whole_batch: Callable[[Any], bool] = _never
    # whether all its passes may run in bf16, for none has to be repeated in fp32
    lowers: Callable[[Any], bool] = _never
    # the names under which --compat knows public implementations, and the flags each one sets
    implementations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    recipe: Recipe | None = None

    def asked(self, config: Any) -> str | None:
        """The switch that asks for the method in this configuration; None where none does."""
        return next((name for name in self.switches if getattr(config, name)), None)

    @property
    def words(self) -> str:
        """The switches as a message names them."""
        return " or ".join(f"--{name}" for name in self.switches)


def seen_weight(config: Any, weight: PerTask, divergence: Callable[[Task], Divergence]) -> PerTask:
    """The weight without the tasks for which this divergence is 0 whatever the outputs.

    Raises InputError where it is so for all tasks that have a weight.
    """
    if config.compat == "paper":  # a task's own divergence tells its outputs apart
        return weight
    weighted = [name for name in config.trained_tasks if for_task(weight, name) > 0]
    blind = [name for name in weighted if not _sees(divergence, TASKS[name])]
    if not blind:
        return weight
    why = f"--compat {config.compat} takes a softmax over a task's outputs, and over one that is 1"
    if blind == weighted:
        raise InputError(f"{why}: the term is always 0 for {', '.join(blind)}, which alone have it")
    log.info("%s: %s get no such term", why, ", ".join(blind))
    return {name: for_task(weight, name) for name in weighted if name not in blind}


def _sees(divergence: Callable[[Task], Divergence], task: Task) -> bool:
    """Whether two different outputs of a task are anything but 0 apart."""
    outputs = torch.arange(1.0, task.num_outputs + 1)[None]  # (1, k)
    return bool(divergence(task)(outputs, -outputs) != 0)

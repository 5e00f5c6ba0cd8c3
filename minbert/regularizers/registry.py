"""Every regularizer that the main job offers. A new one is a file of its own and a name here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minbert.model import MultitaskBert
from minbert.regularizers.freelb import FREELB
from minbert.regularizers.method import BatchObjective, Method
from minbert.regularizers.objective import Objective
from minbert.regularizers.r3f import R3F_AND_R4F
from minbert.regularizers.smart.method import SMART
from minbert.support.errors import InputError
from minbert.support.flags import RATE, When, flag
from minbert.tasks.task import Task
from minbert.training.optimizer import warmup_steps

METHODS: tuple[Method, ...] = (SMART, R3F_AND_R4F, FREELB)

GROUP = "regularizers"
_ADDED = [method for method in METHODS if method.objective is None]  # they add terms to the loss
_IMITATING = [method for method in METHODS if method.implementations]
_RECIPES = {m.recipe.name: m.recipe for m in METHODS if m.recipe is not None}
_PRESETS = {name: flags for m in METHODS for name, flags in m.implementations.items()}


def _imitated(compat: str) -> list[Method]:
    """The methods that --compat is about: for the papers' own formulas, all that have others."""
    return [method for method in _IMITATING if compat in ("paper", *method.implementations)]


@dataclass(frozen=True)
class TermFlags:
    """The flags that all terms share."""

    term_warmup: float = flag(
        0.0,
        GROUP,
        "fraction of all steps in which the weights of SMART's and R3F's terms rise linearly from "
        "0. A weight can be a task's own, as in --smart_lambda TASK=5,TASK=1: tasks not named go "
        "without the term",
        limit=RATE,
        metavar="FRACTION",
        acts=[
            When(
                lambda c: any(method.asked(c) for method in _ADDED),
                " or ".join(
                    ", ".join(f"--{name}" for m in _ADDED for name in m.switches).rsplit(", ", 1)
                ),
            )
        ],
    )
    compat: str = flag(
        "paper",
        GROUP,
        "whose formulas: paper, the papers' own; else those of a public implementation, errors and "
        "defaults included, to measure the difference: mtdnn or smart-pytorch for --smart (without "
        "the Bregman term, which they lack), fairseq for --r3f and --r4f. See docs/regularizers.md",
        choices=("paper", *_PRESETS),
        acts=[
            When(
                lambda c: any(method.asked(c) for method in _imitated(c.compat)),
                ", ".join(f"{m.words} ({', '.join(m.implementations)})" for m in _IMITATING),
            )
        ],
    )


def preset(compat: str) -> Mapping[str, Any]:
    """The flags that --compat sets where they were not typed."""
    return _PRESETS.get(compat, {})


def recipes() -> dict[str, str]:
    """What --recipe knows, each name with its words."""
    return {name: one.words for name, one in _RECIPES.items()}


def recipe(name: str, trained: Sequence[Task]) -> dict[str, Any]:
    """The flags of a recipe, for these tasks."""
    if name not in _RECIPES:
        raise InputError(f"--recipe {name}: not one of {', '.join(_RECIPES)}")
    return dict(_RECIPES[name].flags(trained))


def lowers(config: Any) -> bool:
    """Whether every pass of a training step may run in bf16."""
    return all(method.lowers(config) for method in METHODS if method.asked(config))


def needs_whole_batch(config: Any) -> bool:
    """Whether what a method adds up depends on all of a batch, so that it has no parts."""
    return any(method.whole_batch(config) for method in METHODS)


def check(config: Any) -> None:
    """Raise InputError where a method's flags contradict each other, or another method."""
    for method in METHODS:
        method.check(config)
    for parts, whole in {"ranks": 1, "micro_batch_size": "auto"}.items():
        if getattr(config, parts) != whole and needs_whole_batch(config):
            raise InputError(
                f"--{parts} {getattr(config, parts)} --compat {config.compat}: what that "
                "implementation adds up depends on all of a batch, which this takes apart"
            )
    switches = {name: method for method in METHODS if (name := method.asked(config))}
    alone = next((name for name, method in switches.items() if method.objective), None)
    if alone and (others := [name for name in switches if name != alone]):
        raise InputError(
            f"--{alone} --{others[0]}: --{alone} takes the place of the training pass that "
            f"--{others[0]} works from"
        )


def build_objective(config: Any, model: MultitaskBert, steps: int) -> BatchObjective:
    """What each of so many steps minimises. Raises InputError for a term that is always 0."""
    asked = [method for method in METHODS if method.asked(config)]
    for method in asked:
        if method.objective is not None:
            return method.objective(config)
    terms = [term for method in asked for term in method.terms(config, model)]
    for term in terms:
        term.begin(steps)
    return Objective(terms, warmup_steps(config.term_warmup, steps))


def prepare(config: Any, model: MultitaskBert) -> None:
    """Let the methods asked for change the model before training."""
    for method in METHODS:
        if method.asked(config):
            method.prepare(config, model)


def remarks(config: Any, model: MultitaskBert) -> list[str]:
    """What the methods asked for say of a finished run, a line each."""
    said = (method.remark(config, model) for method in METHODS if method.asked(config))
    return [line for line in said if line is not None]

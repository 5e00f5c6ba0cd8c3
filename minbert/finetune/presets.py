"""Flags that stand for others: what is typed wins over what they set."""

from collections.abc import Mapping
from typing import Any

from minbert.finetune.config import RunConfig
from minbert.regularizers import registry
from minbert.support.errors import InputError
from minbert.support.flags import idle_flags
from minbert.tasks.registry import TASKS

_WHAT_TRAINS = ("tasks", "rrobin", "task_file", "glue_dir", "xnli_dir")
STDPP: Mapping[str, Any] = {"warmup": 0.1, "schedule": "linear"}  # and twice the epochs


def with_presets(given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were typed, and those that a preset among them stands for."""
    preset = dict(STDPP) if given.get("stdpp") else {}
    preset |= recipe(given) if given.get("recipe") else {}
    return {**preset, **registry.preset(given.get("compat", "paper")), **given}


def recipe(given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that a method's paper trains with, as far as they act and were not typed.

    A number that the published scripts have by task is set for the tasks that train. Raises
    InputError beside --stdpp, which sets a schedule too.
    """
    if given.get("stdpp"):
        raise InputError(f"--recipe {given['recipe']} --stdpp: each sets a schedule; leave one out")
    trained = RunConfig(**{n: given[n] for n in _WHAT_TRAINS if n in given}).trained_tasks
    wanted = registry.recipe(given["recipe"], [TASKS[name] for name in trained])
    config = RunConfig(**{**wanted, **given})
    idle = dict(idle_flags(config, wanted.keys() - given.keys()))
    return {name: v for name, v in wanted.items() if name not in idle and name not in given}

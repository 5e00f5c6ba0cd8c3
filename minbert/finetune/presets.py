"""Flags that stand for others: what is typed wins over what they set."""

from collections.abc import Mapping
from typing import Any

from minbert.regularizers import registry

STDPP: Mapping[str, Any] = {"warmup": 0.1, "schedule": "linear"}  # and twice the epochs


def with_presets(given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were typed, and those that a preset among them stands for."""
    preset = dict(STDPP) if given.get("stdpp") else {}
    return {**preset, **registry.preset(given.get("compat", "paper")), **given}

"""Flags that stand for others: what is typed wins over what they set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STDPP: Mapping[str, Any] = {"warmup": 0.1, "schedule": "linear"}  # and twice the epochs

# The defaults of the public implementations that --compat names. None has a proximal term.
COMPAT: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "mtdnn": {
        "no_bregman": True,
        "smart_dropout": "independent",
        "smart_lambda": 1.0,
        "smart_eta": 1e-5,
    },
    "smart-pytorch": {"no_bregman": True, "smart_dropout": "independent", "smart_lambda": 0.02},
    "fairseq": {"r3f_noise": "uniform", "r4f_scope": "last"},
}


def with_presets(given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were typed, and those that a preset among them stands for."""
    preset = dict(STDPP) if given.get("stdpp") else {}
    preset |= COMPAT.get(given.get("compat", "paper"), {})
    return {**preset, **given}

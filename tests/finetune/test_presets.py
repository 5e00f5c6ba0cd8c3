"""Flags that stand for others."""

from __future__ import annotations

import dataclasses

import pytest

from minbert.finetune.config import RunConfig
from minbert.finetune.presets import STDPP, with_presets
from minbert.regularizers.registry import METHODS, preset
from minbert.regularizers.smart.method import SMART


def test_stdpp_is_a_preset_of_flags() -> None:
    filled = RunConfig(**with_presets({"stdpp": True}))
    assert (filled.warmup, filled.schedule) == (0.1, "linear")
    assert filled.resolved().epochs == 20
    assert filled.resolved({"epochs": 3}).epochs == 6
    assert with_presets({"seed": 3}) == {"seed": 3}


def test_what_is_typed_wins_over_the_preset() -> None:
    typed = RunConfig(**with_presets({"stdpp": True, "warmup": 0.06, "epochs": 4}))
    assert (typed.warmup, typed.schedule, typed.resolved().epochs) == (0.06, "linear", 4)


COMPAT = {name: preset(name) for method in METHODS for name in method.implementations}


@pytest.mark.parametrize("compat", COMPAT)
def test_a_variant_sets_flags_that_exist_to_values_they_take(compat: str) -> None:
    names = {entry.name for entry in dataclasses.fields(RunConfig)}
    assert COMPAT[compat].keys() <= names
    filled = RunConfig(**with_presets({"compat": compat, "smart": True}))
    assert all(getattr(filled, name) == value for name, value in COMPAT[compat].items())


def test_the_papers_formulas_set_nothing() -> None:
    assert with_presets({"compat": "paper"}) == {"compat": "paper"}


@pytest.mark.parametrize("compat", SMART.implementations)
def test_variants_of_smart_run_with_independent_masks_and_no_proximal_term(compat: str) -> None:
    filled = RunConfig(**with_presets({"compat": compat, "smart": True}))
    assert (filled.smart_dropout, filled.no_bregman) == ("independent", True)
    typed = with_presets({"compat": compat, "smart": True, "smart_dropout": "shared"})
    assert typed["smart_dropout"] == "shared"


def test_presets_add_up() -> None:
    both = with_presets({"compat": "fairseq", "stdpp": True})
    assert both.items() >= {**STDPP, **COMPAT["fairseq"]}.items()


def test_every_implementation_can_be_asked_for() -> None:
    choices = RunConfig.__dataclass_fields__["compat"].metadata["choices"]
    assert set(choices) == {"paper", *COMPAT}

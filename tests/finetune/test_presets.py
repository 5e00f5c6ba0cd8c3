"""Flags that stand for others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from minbert.finetune.config import RunConfig
from minbert.finetune.presets import STDPP, with_presets
from minbert.regularizers.registry import METHODS, preset
from minbert.regularizers.smart.method import SMART
from minbert.support.errors import InputError
from tests.finetune import glue_files


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


# ------------------------------------------------------------------------- recipes of the papers

OF_THE_PAPERS = {  # recipe -> switch, and what it sets for SST and STS
    "smart": (
        "smart",
        {"clip": 1.0, "warmup": 0.1, "schedule": "linear"},
        {"bregman_beta": 0.99, "bregman_beta_late": 0.999},
    ),
    "r3f": (
        "r3f",
        {
            "betas": (0.9, 0.98),
            "weight_decay": 0.01,
            "warmup": 0.06,
            "schedule": "polynomial",
            "power": 1.0,
        },
        {},
    ),
    "freelb": (
        "freelb",
        {"weight_decay": 0.1, "warmup": 0.06, "schedule": "polynomial", "power": 1.0},
        {"freelb_lr": {"sst": 0.1, "sts": 0.1}, "freelb_steps": {"sst": 2, "sts": 3}},
    ),
}
BOTH = {"tasks": ("sst", "sts"), "rrobin": "equal"}


@pytest.mark.parametrize("name", OF_THE_PAPERS)
def test_a_recipe_is_what_the_paper_says(name: str) -> None:
    switch, shared, own = OF_THE_PAPERS[name]
    given = {**BOTH, "recipe": name, switch: True}
    assert with_presets(given) == {**given, **shared, **own}
    RunConfig(**with_presets(given))


@pytest.mark.parametrize("name", OF_THE_PAPERS)
def test_a_recipe_switches_no_method_on_and_sets_nothing_that_would_be_idle(name: str) -> None:
    switch, shared, _ = OF_THE_PAPERS[name]
    filled = with_presets({**BOTH, "recipe": name})
    assert filled == {**BOTH, "recipe": name, **shared}
    assert not getattr(RunConfig(**filled), switch)


def test_what_is_typed_wins_over_a_recipe() -> None:
    typed = {"recipe": "smart", "smart": True, "clip": 5.0, "bregman_beta": 0.5, "warmup": 0.3}
    assert with_presets(typed).items() >= typed.items()
    constant = with_presets({"recipe": "r3f", "schedule": "constant"})
    assert (constant["schedule"], "power" in constant) == ("constant", False)
    one = with_presets({"recipe": "freelb", "freelb": True, "freelb_steps": 1, **BOTH})
    assert (one["freelb_steps"], "freelb_lr" in one) == (1, False)


def test_quora_has_a_step_of_its_own() -> None:
    filled = with_presets({"recipe": "freelb", "freelb": True, "rrobin": "equal"})
    assert filled["freelb_lr"] == {"sst": 0.1, "para": 0.2, "sts": 0.1}
    assert filled["freelb_steps"] == {"sst": 2, "para": 2, "sts": 3}


def test_two_schedules_are_one_too_many() -> None:
    with pytest.raises(InputError, match="--recipe r3f --stdpp"):
        with_presets({"recipe": "r3f", "stdpp": True})


def test_a_recipe_knows_the_tasks_of_files(tmp_path: Path) -> None:
    glue_files.write(tmp_path, "rte")
    given = {"tasks": ("rte",), "glue_dir": str(tmp_path), "recipe": "r3f"}
    assert with_presets(given)["warmup"] == 0.06

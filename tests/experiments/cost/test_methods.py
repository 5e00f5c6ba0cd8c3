"""Methods are what the main job's flags say, and claims are what the R3F paper's Table 1 says."""

from __future__ import annotations

import pytest

from minbert.experiments.cost.methods import METHODS, CostedMethod
from minbert.finetune import cli
from minbert.finetune.config import RunConfig
from minbert.support.flags import refuse_idle

MASKS = ("shared", "independent", "off")
NAMED = {method.name: method for method in METHODS}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_flags_are_the_main_jobs(method: CostedMethod) -> None:
    typed = vars(cli.make_parser().parse_args(method.flags.split()))
    assert typed == dict(method.settings)
    refuse_idle(RunConfig(**typed), typed)


def test_methods_differ() -> None:
    configurations = [RunConfig(**method.settings) for method in METHODS]
    assert len(NAMED) == len(METHODS)
    assert all(configurations.count(one) == 1 for one in configurations)


def test_standard_comes_first() -> None:
    assert METHODS[0].settings == {}


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("standard", 3),
        ("R3F, off", 4),
        ("R4F, independent", 4),
        *((f"SMART adversarial, {masks}", 3 + 3 * 1) for masks in MASKS),  # S = 1
        *((f"SMART both, {masks}", 3 + 3 * 1) for masks in MASKS),
        *((f"SMART Bregman, {masks}", None) for masks in MASKS),
        ("R3F, shared", 4),
        ("R3F, independent", 4),
        ("FreeLB, K = 1", 3),
        ("FreeLB, K = 2", 3 + 3 * 1),  # S = K - 1
        ("FreeLB, K = 3", 3 + 3 * 2),
    ],
)
def test_claims_of_table_1(name: str, units: int | None) -> None:
    assert NAMED[name].paper_units == units

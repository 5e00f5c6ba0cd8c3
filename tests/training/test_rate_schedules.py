"""The learning rate's schedules: warm-up, decay, runs of one step."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from minbert.training.optimizer import rate_schedule


def test_constant_rate() -> None:
    factor = rate_schedule("constant", 100)
    assert {factor(step) for step in range(100)} == {1.0}


@pytest.mark.parametrize("kind", ["constant", "linear", "polynomial"])
def test_warmup_starts_above_nought_and_reaches_one(kind: str) -> None:
    factor = rate_schedule(kind, 100, warmup=0.1, power=2.0)
    rising = [factor(step) for step in range(10)]
    assert rising == pytest.approx([0.1 * n for n in range(1, 11)])
    assert factor(9) == 1.0 and factor(10) == 1.0


@pytest.mark.parametrize("percent", range(1, 100))
def test_warmup_takes_its_share_of_the_steps(percent: int) -> None:
    """A whole number of steps stays that number in spite of binary fractions."""
    factor = rate_schedule("constant", 100, warmup=percent / 100)
    assert next(step for step in range(100) if factor(step) == 1.0) + 1 == percent


@pytest.mark.parametrize(("kind", "power"), [("linear", 1.0), ("polynomial", 2.0)])
@pytest.mark.parametrize("warmup", [0.0, 0.06])
def test_rate_falls_to_nought(kind: str, power: float, warmup: float) -> None:
    total = 50
    rising = math.ceil(Fraction(str(warmup)) * total)
    factor = rate_schedule(kind, total, warmup, power=2.0)
    falling = [factor(step) for step in range(rising, total)]
    after = total - rising
    assert falling == pytest.approx([((after - n) / after) ** power for n in range(after)])
    assert falling[0] == 1.0 and 0 < falling[-1] == pytest.approx(after**-power)
    assert factor(total) == 0.0 and factor(total + 5) == 0.0


def test_linear_is_polynomial_of_power_one() -> None:
    linear, polynomial = rate_schedule("linear", 30, 0.1, 3.0), rate_schedule("polynomial", 30, 0.1)
    assert [linear(s) for s in range(31)] == [polynomial(s) for s in range(31)]


@pytest.mark.parametrize("kind", ["constant", "linear", "polynomial"])
def test_a_run_of_one_step_moves(kind: str) -> None:
    assert rate_schedule(kind, 1)(0) == 1.0
    assert rate_schedule(kind, 1, warmup=0.5)(0) == 1.0


def test_unknown_kind() -> None:
    with pytest.raises(KeyError):
        rate_schedule("cosine", 10)

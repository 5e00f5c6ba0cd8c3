"""What an epoch of each mixing draws, against the formulas and the reference's numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minbert.support.errors import InputError
from minbert.tasks.mixing import (
    ALONE,
    ANNEALED,
    MIXINGS,
    WITH_ROUNDS,
    MixingSettings,
    Shares,
    TaskShare,
    apportioned,
    table,
)

Epochs = Callable[[int], Shares]  # of an epoch, counted from 0
COURSE = {"sst": 8544, "para": 141506, "sts": 6040}  # rows of the course's training sets
BY_SIZE = [name for name in MIXINGS if name not in WITH_ROUNDS]


def shares(kind: str, sizes: Mapping[str, int], batch_size: int, **more: Any) -> Epochs:
    given = {"epochs": 5, "pre_task": "para", "pre_epochs": 1, "temperature": 5.0, **more}
    return partial(MIXINGS[kind].shares, MixingSettings(sizes, batch_size, **given))


def drawn(kind: str, epoch: int = 0, batch_size: int = 64, **more: Any) -> dict[str, TaskShare]:
    return {share.task: share for share in shares(kind, COURSE, batch_size, **more)(epoch)}


@pytest.mark.parametrize("batch_size", [8, 16, 64])
def test_equal_has_a_round_for_each_whole_batch_of_sts(batch_size: int) -> None:
    for epoch in (0, 7):
        own = drawn("equal", epoch, batch_size)
        assert list(own) == ["sst", "para", "sts"]
        assert {share.batches for share in own.values()} == {6040 // batch_size}
        assert {share.batch_size for share in own.values()} == {batch_size}


def test_full_has_the_posters_batch_sizes() -> None:
    own = drawn("full")
    assert {task: share.batch_size for task, share in own.items()} == {
        "para": 64,
        "sst": 3,
        "sts": 2,
    }
    assert {share.batches for share in own.values()} == {2211}


@given(sizes=st.lists(st.integers(1, 5000), min_size=2, max_size=4), batch_size=st.integers(1, 64))
def test_full_follows_the_rule_and_never_exceeds_the_batch_size(
    sizes: list[int], batch_size: int
) -> None:
    named = {str(i): size for i, size in enumerate(sizes)}
    rounds = max(sizes) // batch_size
    if not rounds:
        with pytest.raises(InputError, match="not one whole batch"):
            shares("full", named, batch_size)(0)
        return
    for share in shares("full", named, batch_size)(0):
        assert share.batches == rounds
        assert share.batch_size <= batch_size
        assert share.batch_size in (batch_size, max(1, named[share.task] // rounds))
        assert share.batch_size == 1 or share.rows <= named[share.task]  # within one pass
    assert max(share.batch_size for share in shares("full", named, batch_size)(0)) == batch_size


@pytest.mark.parametrize("pre_epochs", [1, 2])
def test_pre_is_quora_alone_and_then_equal(pre_epochs: int) -> None:
    whole = TaskShare("para", 64, -(-141506 // 64), 141506)
    of = shares("pre", COURSE, 64, pre_epochs=pre_epochs)
    assert [of(epoch) for epoch in range(pre_epochs)] == [(whole,)] * pre_epochs
    assert of(pre_epochs) == shares("equal", COURSE, 64)(0)


def test_a_single_task_is_drawn_once_with_a_short_batch_at_the_end() -> None:
    (share,) = ALONE.shares(MixingSettings({"sst": 8544}, 64), 3)
    assert share == TaskShare("sst", 64, 134, 8544)


EXPONENTS = {"proportional": 1.0, "sqrt": 0.5, "temperature": 0.2}


@pytest.mark.parametrize("kind", EXPONENTS)
@pytest.mark.parametrize("batches", [None, 300])
def test_shares_are_those_of_the_formula(kind: str, batches: int | None) -> None:
    total = batches or -(-sum(COURSE.values()) // 64)
    own = drawn(kind, 2, epoch_batches=batches)
    assert sum(share.batches for share in own.values()) == total
    weight = sum(size ** EXPONENTS[kind] for size in COURSE.values())
    for task, size in COURSE.items():
        quota = total * size ** EXPONENTS[kind] / weight
        assert abs(own[task].batches - quota) < 1
        assert (own[task].batch_size, own[task].rows) == (64, 64 * own[task].batches)


def test_proportional_sees_every_set_about_once() -> None:
    for task, share in drawn("proportional", batch_size=8).items():
        assert abs(share.rows - COURSE[task]) <= 8


@pytest.mark.parametrize("epochs", [2, 5, 10])
def test_annealed_goes_from_proportional_to_equal(epochs: int) -> None:
    of = shares(ANNEALED, COURSE, 64, epochs=epochs)
    assert of(0) == shares("proportional", COURSE, 64)(0)
    last = [share.batches for share in of(epochs - 1)]
    assert max(last) - min(last) <= 1
    counts = [[share.batches for share in of(epoch)] for epoch in range(epochs)]
    assert len({sum(own) for own in counts}) == 1
    for epoch, own in enumerate(counts):
        exponent = 1 - epoch / (epochs - 1)
        weights = [size**exponent for size in COURSE.values()]
        quotas = [sum(own) * weight / sum(weights) for weight in weights]
        assert all(abs(count - quota) < 1 for count, quota in zip(own, quotas, strict=True))


def test_temperature_runs_from_proportional_to_equal() -> None:
    assert drawn("temperature", temperature=1.0) == drawn("proportional")
    assert drawn("temperature", temperature=2.0) == drawn("sqrt")
    batches = [share.batches for share in drawn("temperature", temperature=1e9).values()]
    assert max(batches) - min(batches) <= 1


@given(total=st.integers(0, 10**6), weights=st.lists(st.integers(1, 10**6), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_an_apportionment_adds_up_and_stays_within_one(total: int, weights: list[int]) -> None:
    counts = apportioned(total, weights)
    assert sum(counts) == total
    exact = [Fraction(total * weight, sum(weights)) for weight in weights]
    assert all(abs(count - quota) < 1 for count, quota in zip(counts, exact, strict=True))
    by_weight = sorted(zip(weights, counts, strict=True))
    assert all(one[1] <= other[1] for one, other in pairwise(by_weight))


@given(
    sizes=st.lists(st.integers(1, 2000), min_size=2, max_size=5),
    batch_size=st.integers(1, 32),
    kind=st.sampled_from(BY_SIZE),
)
@settings(max_examples=200, deadline=None)
def test_every_task_gets_a_batch_in_every_epoch_or_is_refused(
    sizes: list[int], batch_size: int, kind: str
) -> None:
    named = {str(i): size for i, size in enumerate(sizes)}
    if min(sizes) < batch_size:
        with pytest.raises(InputError, match="not one whole batch; lower it"):
            shares(kind, named, batch_size)(0)
        return
    of = shares(kind, named, batch_size)
    for epoch in range(5):
        assert min(share.batches for share in of(epoch)) >= 1


def test_too_few_batches_for_all_tasks_are_refused() -> None:
    with pytest.raises(InputError, match="--epoch_batches 3: sst would get none; raise it"):
        drawn("proportional", epoch_batches=3)
    assert min(share.batches for share in drawn("proportional", epoch_batches=40).values()) > 0


def test_a_batch_larger_than_a_tasks_data_is_refused_and_not_filled_with_copies() -> None:
    with pytest.raises(InputError, match="--batch_size 8: sst has only 7 rows"):
        shares("equal", {"sst": 7, "sts": 40}, 8)(0)
    assert shares("equal", {"sst": 8, "sts": 40}, 8)(0)[0].batches == 1


@pytest.mark.parametrize("kind", WITH_ROUNDS)
def test_a_skipped_task_counts_for_the_rounds_and_has_no_turn(kind: str) -> None:
    sizes = {"sst": 30, "para": 90, "sts": 13}
    whole, without = (shares(kind, sizes, 4, skipped=out)(1) for out in ((), ("sts",)))
    assert without == tuple(share for share in whole if share.task != "sts")


@pytest.mark.parametrize("kind", BY_SIZE)
def test_a_skipped_task_takes_no_share(kind: str) -> None:
    sizes = {"sst": 30, "para": 90, "sts": 13}
    without = shares(kind, sizes, 4, skipped=("sts",))
    assert without(0) == shares(kind, {"sst": 30, "para": 90}, 4)(0)


def test_the_table_has_a_line_a_task_and_equal_epochs_share_theirs() -> None:
    lines = table(shares("pre", COURSE, 64), COURSE, 11)
    assert [line.split() for line in lines] == [
        ["epochs", "task", "batch", "size", "batches", "rows", "of", "its", "set"],
        ["1", "para", "64", "2212", "141506", "100.0%"],
        ["2-11", "sst", "64", "94", "6016", "70.4%"],
        ["para", "64", "94", "6016", "4.3%"],
        ["sts", "64", "94", "6016", "99.6%"],
    ]
    assert len({len(line) for line in lines}) == 1
    assert len(table(shares(ANNEALED, COURSE, 64, epochs=4), COURSE, 4)) == 1 + 4 * 3


def test_an_epoch_of_full_leaves_rows_of_the_small_tasks_and_says_so() -> None:
    """On the course's files at batches of 64: 3.9 and 2.7 rows a batch are cut to whole ones."""
    _, *lines = table(shares("full", COURSE, 64), COURSE, 1)
    assert [line.split()[-1] for line in lines] == ["77.6%", "100.0%", "73.2%"]

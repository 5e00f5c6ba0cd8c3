"""The order of rows: deterministic, fair to every row, resumable at any step, little padding."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minbert.data.batches import encode_split
from minbert.data.reading import read_split
from minbert.data.tokenizer import WordPieceTokenizer
from minbert.tasks.mixing import MIXINGS, WITH_ROUNDS
from minbert.tasks.registry import TASKS
from minbert.training.sampling import MixedTaskOrder, TaskSampler
from tests.helpers import make_order

SIZES = {"sst": 23, "para": 50, "sts": 17}
KINDS = [None, *MIXINGS]


def lengths(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, 40, count)


def order(kind: str | None = "equal", seed: int = 1, **more: Any) -> MixedTaskOrder:
    sizes = SIZES if kind else {"sst": 30}
    own = {task: lengths(size) for task, size in sizes.items()}
    setting = {"epochs": 4, "pre_task": "para", "pre_epochs": 1, "temperature": 3.0}
    return make_order(kind, own, 4, seed, **{**setting, **more})


def drawn(of: MixedTaskOrder, epoch: int) -> list[tuple[tuple[str, list[int]], ...]]:
    return [tuple((task, rows.tolist()) for task, rows in step) for step in of.epoch(epoch)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_is_a_function_of_seed_and_number(kind: str | None) -> None:
    first = order(kind)
    drawn(first, 3)  # earlier draws leave no trace
    assert drawn(first, 2) == drawn(order(kind), 2)
    assert drawn(first, 2) != drawn(first, 3)
    assert drawn(first, 2) != drawn(order(kind, seed=2), 2)


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_draws_what_it_says(kind: str | None) -> None:
    of, steps = order(kind), 0
    for epoch in range(4):
        assert of.start(epoch) == steps
        batches, rows = Counter[str](), Counter[str]()
        for step in drawn(of, epoch):
            steps += 1
            ((task, taken),) = step
            batches[task] += 1
            rows[task] += len(taken)
            (own,) = (share for share in of.shares(epoch) if share.task == task)
            assert len(taken) == own.batch_size or kind in (None, "pre")  # only a pass ends short
        for share in of.shares(epoch):
            assert (batches[share.task], rows[share.task]) == (share.batches, share.rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("summed", [False, True])
def test_every_row_comes_once_before_any_comes_again(kind: str | None, summed: bool) -> None:
    if summed and kind not in WITH_ROUNDS:
        return
    of = order(kind, summed=summed)
    counts = {task: Counter(dict.fromkeys(range(size), 0)) for task, size in SIZES.items()}
    counts = counts if kind else {"sst": Counter(dict.fromkeys(range(30), 0))}
    for epoch in range(4):
        for step in drawn(of, epoch):
            for task, rows in step:
                counts[task].update(rows)
        for count in counts.values():
            assert max(count.values()) - min(count.values()) <= 1
    assert {task: len(count) for task, count in counts.items()} == (SIZES if kind else {"sst": 30})


@given(
    size=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    counts=st.lists(st.integers(1, 90), min_size=1, max_size=5),
    seed=st.integers(0, 3),
)
@settings(max_examples=150, deadline=None)
def test_a_sampler_goes_through_its_rows_evenly_whatever_it_is_asked_for(
    size: int, batch_size: int, counts: list[int], seed: int
) -> None:
    sampler = TaskSampler("sst", lengths(size), seed)
    seen: Counter[int] = Counter(dict.fromkeys(range(size), 0))
    for number, count in enumerate(counts):
        batches = sampler.batches(number, sum(counts[:number]), count, batch_size)
        sizes = sorted(map(len, batches))
        assert sum(sizes) == count
        assert set(sizes[1:]) <= {batch_size}  # at most one batch is short
        for batch in batches:
            seen.update(batch.tolist())
        assert max(seen.values()) - min(seen.values()) <= 1
    assert set(seen) == set(range(size))


@given(rows=st.integers(1, 60), batch_size=st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_an_epoch_of_a_single_task_has_every_row_once(rows: int, batch_size: int) -> None:
    of = make_order(None, {"sst": lengths(rows)}, batch_size, 0)
    batches = [taken for ((_, taken),) in drawn(of, 0)]
    assert len(batches) == of.start(1) == -(-rows // batch_size)
    assert sorted(row for taken in batches for row in taken) == list(range(rows))


@pytest.mark.parametrize("kind", sorted(WITH_ROUNDS))
def test_fixed_rows_are_those_of_the_first_epoch_in_other_batches(kind: str) -> None:
    of = order(kind, fixed=True, pre_epochs=1)
    epochs = [drawn(of, number) for number in range(1, 4)]
    for task in SIZES:
        rows = [
            [row for step in steps for name, taken in step for row in taken if name == task]
            for steps in epochs
        ]
        assert len({tuple(sorted(own)) for own in rows}) == 1
        assert len({tuple(own) for own in rows}) == 3  # not in the same order
        assert len(set(rows[0])) == len(rows[0])
    assert drawn(of, 2) == drawn(order(kind, fixed=True), 2)
    fresh = order(kind)
    assert drawn(order(kind, fixed=True), 0) == drawn(fresh, 0)


def test_round_robin_takes_tasks_in_turn() -> None:
    names = [task for ((task, _),) in drawn(order("equal"), 0)]
    assert names == ["sst", "para", "sts"] * (17 // 4)


def test_pre_trains_quora_alone_before_all_take_turns() -> None:
    of = order("pre", pre_epochs=2)
    for epoch in (0, 1):
        rows = [row for ((task, rows),) in drawn(of, epoch) for row in rows if task == "para"]
        assert sorted(rows) == list(range(50))
    assert of.start(2) == 2 * 13
    names = [task for ((task, _),) in drawn(of, 2)]
    assert names == ["sst", "para", "sts"] * 4


@pytest.mark.parametrize("kind", [name for name in MIXINGS if name not in WITH_ROUNDS])
def test_without_rounds_the_order_of_tasks_is_random(kind: str) -> None:
    names = [[task for ((task, _),) in drawn(order(kind), epoch)] for epoch in (0, 1)]
    assert len(set(names[0])) == 3
    for own in names:
        runs = sum(one != other for one, other in pairwise(own))
        assert 2 < runs < len(own) - 1  # neither sorted nor in strict turn
    assert names[0] != names[1]


@pytest.mark.parametrize("kind", WITH_ROUNDS)
def test_summed_steps_are_the_rounds_of_the_same_batches(kind: str) -> None:
    apart, summed = order(kind), order(kind, summed=True)
    for epoch in range(3):
        steps = drawn(summed, epoch)
        tasks = ("para",) if (kind, epoch) == ("pre", 0) else ("sst", "para", "sts")
        assert {tuple(task for task, _ in step) for step in steps} == {tasks}
        assert [(turn,) for step in steps for turn in step] == drawn(apart, epoch)
        assert summed.start(epoch + 1) - summed.start(epoch) == len(steps)


def test_a_skipped_task_changes_nothing_for_the_others() -> None:
    whole = [step for step in drawn(order(), 1) if step[0][0] != "sts"]
    assert drawn(order(skipped=("sts",)), 1) == whole


def test_tasks_of_equal_size_are_shuffled_apart() -> None:
    of = make_order("equal", {"sst": lengths(40), "sts": lengths(40)}, 4, 0)
    steps = [turn for (turn,) in drawn(of, 0)]
    assert [rows for task, rows in steps if task == "sst"] != [
        rows for task, rows in steps if task == "sts"
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("summed", [False, True])
def test_the_position_in_an_epoch_is_one_integer(kind: str | None, summed: bool) -> None:
    if summed and kind not in WITH_ROUNDS:
        return
    whole = drawn(order(kind, summed=summed), 1)
    for step in range(len(whole) + 1):
        rest = islice(order(kind, summed=summed).epoch(1), step, None)
        assert [tuple((t, rows.tolist()) for t, rows in turns) for turns in rest] == whole[step:]


def test_batches_are_alike_in_length_but_not_sorted() -> None:
    own = lengths(400, seed=2)
    batches = TaskSampler("sst", own, 0).batches(0, 0, 400, 8)
    spread = [np.ptp(own[rows]) for rows in batches]
    assert np.mean(spread) < 2 < np.ptp(own)
    longest = [own[rows].max() for rows in batches]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


@pytest.mark.parametrize(("task", "file"), [("sst", "ids-sst"), ("cfimdb", "ids-cfimdb")])
def test_little_padding_is_computed_on_real_single_sentences(
    course_data: Path, minilm: Path, task: str, file: str
) -> None:
    tokenizer = WordPieceTokenizer.from_folder(minilm, 512)
    split = read_split(TASKS[task], "train", course_data / f"{file}-train.csv")
    own = encode_split(split, tokenizer, cross_encoder=False).lengths
    of = make_order(None, {task: own}, 16, 11711)
    for epoch in range(3):
        batches = [own[rows] for ((_, rows),) in of.epoch(epoch)]
        computed = sum(len(batch) * batch.max() for batch in batches)
        assert computed / own.sum() <= 1.10

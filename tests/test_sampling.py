"""Schedules: deterministic, fair to every row, resumable at any step, little padding."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minbert.batching import encode_split
from minbert.data import read_split
from minbert.runtime import InputError
from minbert.sampling import EqualRoundRobin, Schedule, SingleTask, TaskSampler
from minbert.tasks import TASKS
from minbert.tokenizer import WordPieceTokenizer


def lengths(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, 40, count)


def drawn(schedule: Schedule, epoch: int) -> list[tuple[str, list[int]]]:
    return [(task, rows.tolist()) for task, rows in schedule.epoch(epoch)]


def robin(seed: int = 1, batch_size: int = 4) -> EqualRoundRobin:
    sizes = {"sst": 23, "para": 50, "sts": 17}
    return EqualRoundRobin({t: lengths(n) for t, n in sizes.items()}, batch_size, seed)


@pytest.mark.parametrize("kind", ["single", "robin"])
def test_a_schedule_is_a_function_of_seed_and_epoch(kind: str) -> None:
    def make(seed: int) -> Schedule:
        return robin(seed) if kind == "robin" else SingleTask({"sst": lengths(30)}, 4, seed)

    first = make(1)
    drawn(first, 5)  # earlier draws leave no trace
    assert drawn(first, 2) == drawn(make(1), 2)
    assert drawn(first, 2) != drawn(first, 3)
    assert drawn(first, 2) != drawn(make(2), 2)


@given(
    rows=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    batches=st.none() | st.integers(1, 20),
    seed=st.integers(0, 3),
)
@settings(max_examples=150, deadline=None)
def test_every_row_comes_once_before_any_comes_again(
    rows: int, batch_size: int, batches: int | None, seed: int
) -> None:
    sampler = TaskSampler("sst", lengths(rows), batch_size, seed, batches)
    count: Counter[int] = Counter(dict.fromkeys(range(rows), 0))
    for epoch in range(4):
        taken = sampler.epoch(epoch)
        assert len(taken) == sampler.batches
        for batch in taken:
            count.update(batch.tolist())
        assert max(count.values()) - min(count.values()) <= 1
    assert set(count) == set(range(rows))


@given(rows=st.integers(1, 60), batch_size=st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_an_epoch_of_a_single_task_has_every_row_once(rows: int, batch_size: int) -> None:
    schedule = SingleTask({"sst": lengths(rows)}, batch_size, 0)
    batches = [taken for _, taken in drawn(schedule, 0)]
    assert len(batches) == schedule.steps_per_epoch == -(-rows // batch_size)
    assert sorted(row for taken in batches for row in taken) == list(range(rows))
    sizes = sorted(len(taken) for taken in batches)
    assert set(sizes[1:]) <= {batch_size}  # at most one batch is short
    assert sizes[0] == rows % batch_size or sizes[0] == batch_size


def test_round_robin_takes_tasks_in_turn_for_the_smallest_tasks_whole_batches() -> None:
    schedule = robin(batch_size=4)
    steps = drawn(schedule, 0)
    assert [task for task, _ in steps] == ["sst", "para", "sts"] * (17 // 4)
    assert len(steps) == schedule.steps_per_epoch
    assert all(len(rows) == 4 for _, rows in steps)


def test_a_batch_larger_than_a_tasks_data_is_refused_and_not_filled_with_copies() -> None:
    with pytest.raises(InputError, match="--batch_size 8: sst has only 7 rows"):
        EqualRoundRobin({"sst": lengths(7), "sts": lengths(40)}, 8, 0)
    assert EqualRoundRobin({"sst": lengths(8), "sts": lengths(40)}, 8, 0).steps_per_epoch == 2


def test_a_skipped_task_counts_for_the_rounds_and_has_no_turn() -> None:
    sizes = {"sst": lengths(30), "para": lengths(90), "sts": lengths(13)}
    whole, without = (EqualRoundRobin(sizes, 4, 1, skipped) for skipped in ((), ("sts",)))
    kept = [(task, list(rows)) for task, rows in whole.epoch(0) if task != "sts"]
    assert [(task, list(rows)) for task, rows in without.epoch(0)] == kept
    assert without.steps_per_epoch == len(kept) == 2 * 3


def test_tasks_of_equal_size_are_shuffled_apart() -> None:
    schedule = EqualRoundRobin({"sst": lengths(40), "sts": lengths(40)}, 4, 0)
    steps = drawn(schedule, 0)
    assert [rows for task, rows in steps if task == "sst"] != [
        rows for task, rows in steps if task == "sts"
    ]


@pytest.mark.parametrize("step", [0, 1, 5, 11, 12])
def test_the_position_in_an_epoch_is_one_integer(step: int) -> None:
    whole = drawn(robin(), 1)
    rest = [(task, rows.tolist()) for task, rows in islice(robin().epoch(1), step, None)]
    assert rest == whole[step:]


def test_batches_are_alike_in_length_but_not_sorted() -> None:
    own = lengths(400, seed=2)
    batches = TaskSampler("sst", own, 8, 0).epoch(0)
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
    schedule = SingleTask({task: own}, 16, 11711)
    for epoch in range(3):
        batches = [own[rows] for _, rows in schedule.epoch(epoch)]
        computed = sum(len(batch) * batch.max() for batch in batches)
        assert computed / own.sum() <= 1.10

"""The order of packed rows: every row once a pass, and the same from wherever a run goes on."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from minbert.pretrain.order import ShuffledShards


class Sizes:
    """As much of packed text as an order needs."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes, self.starts = np.asarray(sizes), np.cumsum([0, *sizes])

    def __len__(self) -> int:
        return int(self.starts[-1])


def order(sizes: list[int], batch: int, steps_per_epoch: int, seed: int = 0) -> ShuffledShards:
    return ShuffledShards(Sizes(sizes), batch, steps_per_epoch, seed)


def rows(by: ShuffledShards, epochs: range) -> list[int]:
    return [int(row) for n in epochs for ((_, batch),) in by.epoch(n) for row in batch]


@pytest.mark.parametrize("sizes", [[7], [5, 9, 3], [1, 1, 1, 30], [4, 0, 6]])
@pytest.mark.parametrize(("batch", "steps_per_epoch"), [(1, 4), (3, 2), (8, 5), (50, 1)])
def test_every_row_once_a_pass(sizes: list[int], batch: int, steps_per_epoch: int) -> None:
    total = sum(sizes)
    epochs = -(-3 * total // (batch * steps_per_epoch))
    drawn = rows(order(sizes, batch, steps_per_epoch), range(epochs))
    for turn in range(3):
        assert sorted(drawn[turn * total : (turn + 1) * total]) == list(range(total))


def test_how_it_is_cut_into_epochs_makes_no_difference() -> None:
    whole = rows(order([5, 9, 3], 4, 12), range(1))
    assert rows(order([5, 9, 3], 4, 3), range(4)) == whole
    assert rows(order([5, 9, 3], 4, 1), range(12)) == whole


def test_all_batches_are_full() -> None:
    for ((name, batch),) in islice(order([5, 9, 3], 4, 50).epoch(0), 50):
        assert (name, len(batch)) == ("text", 4)


def test_passes_and_seeds_differ() -> None:
    first = rows(order([50], 50, 1), range(1))
    assert first != rows(order([50], 50, 1), range(1, 2))
    assert first != rows(order([50], 50, 1, seed=1), range(1))
    assert first == rows(order([50], 50, 1), range(1))


def test_rows_of_a_shard_stay_together() -> None:
    """Whatever the size of the text, one shard's order is all that is in memory."""
    drawn = np.asarray(rows(order([10, 10, 10], 30, 1), range(1)))
    assert sorted((drawn // 10)[::10]) == [0, 1, 2]
    assert all(len(set(part // 10)) == 1 for part in np.split(drawn, 3))

"""Processes that train together: they add up, agree, and end together, saying why."""

from __future__ import annotations

import multiprocessing.spawn
import os

import pytest
import torch

from minbert.support.errors import InputError, RunError
from minbert.training import ranks

pytestmark = pytest.mark.usefixtures("patient_ranks")


def fail() -> int:
    raise RuntimeError("no memory left")


def leave() -> int:
    ranks.wait()
    os._exit(3)


def sum_up() -> int:
    ranks.summed(torch.ones(3))
    ranks.highest(ranks.rank())
    ranks.wait()
    return 0


def test_ranks_add_up_and_agree() -> None:
    threads = torch.get_num_threads()
    with ranks.started(2, torch.device("cpu"), sum_up):
        assert (ranks.rank(), ranks.size()) == (0, 2)
        assert ranks.mine([0, 1, 2, 3, 4]) == [0, 2, 4]
        assert ranks.summed(torch.ones(3)).tolist() == [2, 2, 2]
        assert ranks.highest(0) == 1
        ranks.wait()
    assert (ranks.rank(), ranks.size()) == (0, 1) and torch.get_num_threads() == threads
    assert ranks.summed(torch.ones(1)) == 1 and ranks.highest(7) == 7


@pytest.mark.usefixtures("forked_ranks")
def test_a_rank_that_fails_is_quoted() -> None:
    with (
        pytest.raises(RunError, match=r"^rank 1: RuntimeError: no memory left$"),
        ranks.started(2, torch.device("cpu"), fail),
    ):
        ranks.wait()


@pytest.mark.usefixtures("forked_ranks")
def test_a_rank_that_goes_without_a_word_is_noticed() -> None:
    with (
        pytest.raises(RunError, match=r"^rank 1: exit code 3$"),
        ranks.started(2, torch.device("cpu"), leave),
    ):
        ranks.wait()
        ranks.summed(torch.ones(1))


def test_a_rank_that_never_begins_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", b"/bin/false")
    with (
        pytest.raises(RunError, match=r"^rank 1: exit code 1$"),
        ranks.started(2, torch.device("cpu"), sum_up),
    ):
        pass


def test_ranks_need_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    ranks.check(2, torch.device("cuda"))
    with pytest.raises(InputError, match=r"^--ranks 3: 2 GPUs are here, one a rank$"):
        ranks.check(3, torch.device("cuda"))
    with pytest.raises(InputError, match=r"--ranks 2: not on mps; add --device cpu"):
        ranks.check(2, torch.device("mps"))

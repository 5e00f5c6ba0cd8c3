"""Memory to the byte, time free of drift, and trials that leave the encoder as it was."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from minbert.encoder.bert import BertModel
from minbert.experiments.measuring.batch import random_batch
from minbert.experiments.measuring.spread import Spread
from minbert.experiments.measuring.trial import Trial, interleaved, peak_memory
from minbert.finetune.config import RunConfig
from tests.helpers import CPU, TINY, make_encoder, same_tensors

KIB = 1024


def rows(size: int = 4):
    return random_batch("para", size, 12, views=2, vocab_size=TINY.vocab_size, device=CPU)


def trial(encoder: BertModel, size: int = 4, **settings: Any) -> Trial:
    job = RunConfig(option="finetune", tasks=("para",), **settings).resolved()
    return Trial.prepare(job, encoder, rows(size))


def peak(encoder: BertModel, size: int = 4, **settings: Any) -> int:
    found = peak_memory(lambda: trial(encoder, size, **settings).step(), CPU)
    assert found is not None
    return found


def test_peak_is_exact() -> None:
    def work() -> None:
        first = torch.empty(100 * KIB, dtype=torch.uint8)
        second = torch.empty(50 * KIB, dtype=torch.uint8)
        del first  # from here on less is held
        third = torch.empty(20 * KIB, dtype=torch.uint8)
        del second, third

    assert peak_memory(work, CPU) == 150 * KIB


def test_what_was_there_before_does_not_count() -> None:
    before = torch.empty(300 * KIB, dtype=torch.uint8)
    kept = []
    keep = lambda: kept.append(torch.empty(100 * KIB, dtype=torch.uint8))  # noqa: E731
    assert peak_memory(keep, CPU) == 100 * KIB
    del before
    kept.clear()  # freed while nobody looks
    assert peak_memory(keep, CPU) == 100 * KIB


def test_what_holds_no_tensors_has_no_peak() -> None:
    assert peak_memory(lambda: None, CPU) == 0


def test_a_device_that_keeps_no_peak_has_none() -> None:
    assert peak_memory(lambda: None, torch.device("meta")) is None


def test_the_profiler_writes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    peak_memory(lambda: torch.zeros(8), CPU)
    assert capfd.readouterr() == ("", "")


def test_a_step_holds_weights_gradients_and_two_moments_at_least() -> None:
    encoder = make_encoder(TINY)
    weights = sum(param.numel() * param.element_size() for param in encoder.parameters())
    plain = peak(encoder)
    assert plain > 4 * weights
    assert plain == peak(encoder)  # to the byte


def test_a_teacher_and_a_second_graph_show() -> None:
    encoder = make_encoder(TINY)
    weights = sum(param.numel() * param.element_size() for param in encoder.parameters())
    plain, larger = peak(encoder), peak(encoder, 8)
    graph = larger - plain  # of four more pairs
    bregman = {"smart": True, "no_adversarial": True, "smart_dropout": "shared"}
    assert peak(encoder, **bregman) >= plain + weights
    assert peak(encoder, r3f=True) == pytest.approx(plain + graph, rel=0.05)
    assert peak(encoder, freelb=True) < plain + graph / 2  # its graphs come one after the other


def test_a_trial_takes_steps_of_its_own() -> None:
    encoder = make_encoder(TINY)
    before = copy.deepcopy(encoder.state_dict())
    one, other = trial(encoder), trial(encoder)
    one.step()
    assert same_tensors(encoder.state_dict(), before)
    assert not same_tensors(one.model.state_dict(), other.model.state_dict())
    other.step()
    assert same_tensors(one.model.state_dict(), other.model.state_dict())


def test_seconds_are_those_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 12.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    taken = trial(make_encoder(TINY))
    assert taken.seconds() == 2.5
    steps = {int(state["step"]) for state in taken.optimizer.state.values()}
    assert steps == {2}  # the one that prepares, and the one that is timed


def test_a_round_has_each_once_and_orders_differ() -> None:
    seen: list[str] = []
    measures = {name: lambda name=name: float(len(seen.append(name) or seen)) for name in "abcd"}
    found = interleaved(measures, rounds=6)
    orders = [tuple(seen[first : first + 4]) for first in range(0, 24, 4)]
    assert all(sorted(order) == list("abcd") for order in orders)
    assert len(set(orders)) > 1
    assert {len(values) for values in found.values()} == {6}
    assert interleaved(measures, rounds=1).keys() == set("abcd")


def test_the_spread_is_of_quartiles() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert Spread.of(values) == Spread(median=3.0, low=2.0, high=4.0)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)
    many = np.random.default_rng(0).normal(size=20_001)
    assert Spread.of(many.tolist()).high == pytest.approx(0.6745, abs=0.03)  # of the normal


def test_a_trial_in_pieces_holds_less_and_steps_as_far() -> None:
    encoder = make_encoder(TINY, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    whole, pieces = (
        trial(encoder, 7, hidden_dropout_prob=0.0, lr=1e-4, **settings)
        for settings in ({}, {"micro_batch_size": 3})
    )
    for name, ours in pieces.model.state_dict().items():
        expected = whole.model.state_dict()[name]
        torch.testing.assert_close(ours, expected, rtol=0, atol=2e-4)
    assert pieces.objective.size == 3
    assert peak(encoder, 32, smart=True, micro_batch_size=8) < 0.8 * peak(encoder, 32, smart=True)

"""Replayed passes beside those as ever, on a CPU (`replays.py`)."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.finetune.microbatches import MicroBatches
from minbert.model import MultitaskBert
from minbert.regularizers.base import Regularizer
from minbert.regularizers.freelb import FreeLB
from minbert.regularizers.objective import PROBE_EVERY, Objective
from minbert.regularizers.r3f import R3F
from minbert.support.randomness import Draws
from minbert.training import cuda_graphs, group
from minbert.training.cuda_graphs import GraphedObjective, graphed
from minbert.training.optimizer import AdamW
from minbert.training.plan import StepAgain
from tests.helpers import CPU, make_encoder, make_model, random_dataset, whole_batch
from tests.training.replays import Again, objective_of, replayed, shape_as_on_a_gpu
from tests.training.training_runs import SHAPE

COUNT = "bregman.updates"  # a number of the host


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    shape_as_on_a_gpu(monkeypatch)


@pytest.mark.parametrize("piece", [None, 2], ids=str)
@pytest.mark.parametrize(
    "name",
    ["plain", "smart off", "smart shared", "smart independent", "r3f", "r4f", "freelb"],
)
def test_steps_of_replays_are_the_steps_without(name: str, piece: int | None) -> None:
    """Two batches a step, whose gradients add up, whole or in pieces; of 2 rows a half or all."""
    found, again = [], None
    for replays in (False, True):
        torch.manual_seed(0)
        model = make_model(make_encoder(SHAPE), ["sst"])
        objective = objective_of(name, model)
        if replays:
            again = Again(model)
            objective = replayed(objective, again)
        found.append(stepped(model, MicroBatches(objective, piece)))
    assert again is not None and again.replays > again.recorded > 0
    most = 0 if name != "freelb" else 1e-5  # the sums of a batch's passes come before other batches
    for same, expected in zip(*found, strict=True):
        torch.testing.assert_close(same, expected, rtol=0, atol=most)


def stepped(model: MultitaskBert, objective: MicroBatches) -> list[Tensor]:
    """The weights after three steps, and the losses of their batches."""
    optimizer, data, losses = AdamW(model.parameters(), lr=5e-3), random_dataset("sst", 8), []
    for step in (1, 2, 3):
        for first, last in ((0, 4), (4, 6)):
            batch = data.batch(torch.arange(first, last).numpy(), CPU)
            losses.append(objective.backward(model, batch, 10 * step + first, step)["loss"])
        optimizer.step()
        optimizer.zero_grad()
        objective.after_step(model)
    return [*model.state_dict().values(), *losses]


@pytest.mark.parametrize("name", ["smart shared", "r4f"])
def test_what_a_recording_reads_stays_where_it_is(name: str) -> None:
    model = make_model(make_encoder(SHAPE), ["sst"])
    objective, optimizer = objective_of(name, model), AdamW(model.parameters())
    read = {**model.state_dict(), **objective.state_dict()}
    before = {key: (own.data_ptr(), own.clone()) for key, own in read.items()}
    objective.backward(model, whole_batch(random_dataset("sst", 4)), 1, 1)
    optimizer.step()
    objective.after_step(model)
    after = {**model.state_dict(), **objective.state_dict()}
    moved = [key for key, (_, value) in before.items() if not torch.equal(after[key], value)]
    assert len(moved) > 3
    assert all(after[key].data_ptr() == before[key][0] for key in moved if key != COUNT)


@pytest.fixture
def sst() -> tuple[MultitaskBert, Batch]:
    return make_model(make_encoder(SHAPE), ["sst"]), whole_batch(random_dataset("sst", 4))


def gradients(model: MultitaskBert) -> list[Tensor]:
    found = [weight.grad for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    return found


def assert_same(values: list[Tensor], expected: list[Tensor]) -> None:
    assert len(values) == len(expected)
    assert all(map(torch.equal, values, expected))


def test_what_cannot_be_recorded_runs_as_ever_and_says_so_once(
    sst: tuple[MultitaskBert, Batch], caplog: pytest.LogCaptureFixture
) -> None:
    model, batch = sst

    def refused(work: Callable[[], Any], _draws: Draws) -> Any:
        work()  # half of a recording may have left gradients of its own
        try:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    objective = GraphedObjective(Objective(), refused)
    for step in (1, 2, 3):
        for seed in (step, step + 10):  # two batches of a step
            Objective().backward(model, batch, seed, step, more=seed == step)
        expected = gradients(model)
        for seed in (step, step + 10):
            objective.backward(model, batch, seed, step, more=seed == step)
        assert_same(gradients(model), expected)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.messages[0].endswith("operation not permitted when stream is capturing")


class Short(Objective):
    """An objective that may run out of memory."""

    short = False

    def passes(self, *arguments: Any) -> dict[str, Tensor]:
        if self.short:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().passes(*arguments)


def test_recordings_go_where_memory_runs_out_beside_them(
    sst: tuple[MultitaskBert, Batch], caplog: pytest.LogCaptureFixture
) -> None:
    model, batch = sst
    inner = Short()
    objective = replayed(inner, Again(model))
    inner.short = True
    with pytest.raises(torch.OutOfMemoryError):  # nothing is recorded yet
        objective.backward(model, batch, 1, 1)
    inner.short = False
    for seed in (1, 2):
        objective.backward(model, batch, seed, 1)
    inner.short = True
    with pytest.raises(StepAgain):
        objective.backward(model, batch, 3, PROBE_EVERY)
    assert len(caplog.records) == 1
    with pytest.raises(torch.OutOfMemoryError):  # so that smaller pieces can be tried
        objective.backward(model, batch, 3, PROBE_EVERY)


class Unknown(Regularizer):
    """A term that does not say that it can be recorded."""

    name, weight = "unknown", 1.0


@pytest.mark.parametrize(
    ("objective", "step", "expected"),
    [
        (Objective(), 1, True),
        (Objective(), 0, False),  # probes
        (Objective(), PROBE_EVERY, False),
        (Objective(), None, True),
        (Objective(warmup_steps=4), 2, False),
        (Objective(warmup_steps=4), 3, True),
        (Objective([R3F()]), 1, True),
        (Objective([R3F(), Unknown()]), 1, False),
        (FreeLB(), 0, True),
        (MicroBatches(Objective(), 2), 1, False),  # its pieces are, one by one
    ],
)
def test_steps_that_differ_from_others_are_not_recorded(
    objective: Any, step: int | None, expected: bool
) -> None:
    batch = whole_batch(random_dataset("sst", 2))
    assert objective.recordable(batch, step) is expected


@dataclasses.dataclass(frozen=True)
class Choosing(Batch):
    """A batch of which the host knows something that decides what is computed."""

    doubled: bool = False


class Doubled(Objective):
    """Twice the loss, where a batch says so."""

    def passes(self, model: Any, batch: Any, *rest: Any) -> dict[str, Tensor]:
        values = super().passes(model, batch, *rest)
        return {name: value * (1 + batch.doubled) for name, value in values.items()}


def test_a_batch_of_which_something_else_is_known_is_another_one(
    sst: tuple[MultitaskBert, Batch],
) -> None:
    model, batch = sst
    objective = replayed(Doubled(), Again(model))
    losses = []
    for doubled in (False, True) * 3:
        given = Choosing(**vars(batch), doubled=doubled)
        losses.append(float(objective.backward(model, given, 1, 1)["loss"]))
    assert losses[1] == 2 * losses[0] and losses == losses[:2] * 3


def test_only_so_many_shapes_are_recorded(
    monkeypatch: pytest.MonkeyPatch, sst: tuple[MultitaskBert, Batch]
) -> None:
    monkeypatch.setattr(cuda_graphs, "_MOST", 2)
    model, data = sst[0], random_dataset("sst", 4)
    again = Again(model)
    objective = replayed(Objective(), again)
    for _ in range(3):
        for rows in (1, 2, 3, 4):
            objective.backward(model, data.batch(torch.arange(rows).numpy(), CPU), 1, 1)
    assert (again.recorded, again.replays) == (2, 4)


def test_graphs_are_for_one_process_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gpu, objective = torch.device("cuda"), Objective()
    monkeypatch.setattr(cuda_graphs, "CudaRecorder", lambda _device: None)
    assert isinstance(graphed(objective, gpu, readable=False), GraphedObjective)
    assert graphed(objective, gpu, readable=True) is objective
    assert graphed(objective, CPU, readable=False) is objective
    assert not caplog.records
    monkeypatch.setattr(group, "size", lambda: 2)
    with caplog.at_level(logging.INFO):
        assert graphed(objective, gpu, readable=False) is objective
    assert "no CUDA graphs" in caplog.text

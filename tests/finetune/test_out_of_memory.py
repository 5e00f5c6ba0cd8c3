"""A GPU whose memory is short: the step begins again from its start, in halves."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.finetune.microbatches import SIZE, MicroBatches
from minbert.model import MultitaskBert
from minbert.regularizers import spectral
from minbert.regularizers.base import Regularizer, TrainingPass
from minbert.regularizers.objective import Objective
from minbert.regularizers.r3f import R3F
from minbert.support.errors import Stopped
from minbert.training.plan import StepAgain
from tests.finetune.test_microbatches import distant_teacher, five
from tests.helpers import rest_slow
from tests.tiny_models import Case, tiny_model
from tests.training.training_runs import SHAPE, Run, assert_same_run, make_run, stopping

TOO_MUCH = torch.OutOfMemoryError("CUDA out of memory.")


class Greedy(Regularizer):
    """A term that needs memory for more rows than there is, from a step on.

    It fails in the backward pass, when some gradients have been added already.
    """

    name, weight = "greedy", 1.0

    def __init__(self, rows: int, since: int = 0, error: Exception = TOO_MUCH) -> None:
        self.rows, self.since, self.error, self.steps = rows, since, error, 0

    def loss(self, _model: MultitaskBert, batch: Batch, training: TrainingPass) -> Tensor:
        entry = training.embeddings
        assert entry is not None and batch.tokens is not None
        if self.steps >= self.since and len(batch.ids) > self.rows:
            entry.register_hook(self._fail)
        return 0 * training.logits.sum()

    def _fail(self, _gradient: Tensor) -> None:
        raise self.error

    def after_step(self, _model: MultitaskBert) -> None:
        self.steps += 1


def greedy_run(
    folder: Path, rows: int, since: int, size: int | None = None, **settings: Any
) -> Run:
    """A run with SMART whose memory holds so many rows from a step on."""
    run = make_run(folder, SHAPE, smart=True, **settings)
    run.objective.regularizers += (Greedy(rows, since),)
    run.objective = MicroBatches(run.objective, size, halves=size is None)
    return run


def set_size_at(run: Run, step: int, size: int) -> None:
    """Cut the batches of the run from this step on."""
    told = run.objective.after_step
    done: list[int] = []

    def after_step(model: MultitaskBert) -> None:
        told(model)
        done.append(0)
        if len(done) == step:
            run.objective.size = size

    run.objective.after_step = after_step


@pytest.mark.parametrize(("rows", "size"), rest_slow(2, [(3, 2), (1, 1), (2, 2)]))
@pytest.mark.parametrize("summed", [False, True])
def test_the_step_begins_again_in_halves(
    tmp_path: Path, rows: int, size: int, summed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """In the very bytes of a run that takes these pieces from this step on."""
    with caplog.at_level(logging.WARNING, "minbert"):
        short = greedy_run(tmp_path / "short", rows, since=2, summed=summed)
        short()
    said = [record.message for record in caplog.records]
    assert said[0] == "out of memory on 4 rows; from this step on: --micro_batch_size 2"
    assert len(said) == (2 if size == 1 else 1)
    plenty = greedy_run(tmp_path / "plenty", 99, since=0, summed=summed)
    set_size_at(plenty, 2, size)
    plenty()
    states = [run.objective.state_dict() for run in (short, plenty)]
    assert int(states[0][SIZE]) == size
    assert_same_run(short, plenty)


def test_halves_are_kept_by_a_resumed_run(tmp_path: Path) -> None:
    straight = greedy_run(tmp_path / "straight", 2, since=2)
    straight()
    first, again = (greedy_run(tmp_path / "run", 2, since=2, init=init) for init in (1, 99))
    first.before_batch(stopping(first, 5))
    with pytest.raises(Stopped):
        first()
    again.objective.inner.regularizers[-1].since = 99  # memory is no longer short
    again(resumed=True)
    assert again.objective.size == 2
    assert_same_run(again, straight)


def test_without_halving_a_checkpoint_knows_no_size(tmp_path: Path) -> None:
    for size in (None, 2):
        run = greedy_run(tmp_path / str(size), 99, since=0, size=size)
        assert SIZE not in run.objective.state_dict()
    run.objective.load_state_dict(run.objective.state_dict())
    assert run.objective.size == 2


def test_what_began_leaves_teacher_and_singular_vectors_where_they_were() -> None:
    case = Case("sst", "bi")
    model = tiny_model(case)
    spectral.normalize([model.heads])
    teacher = distant_teacher(model, "off")
    terms = [teacher, R3F(normalized_heads=True), Greedy(2)]
    before = {**dict(model.named_buffers()), **teacher.state_dict()}
    before = {name: tensor.clone() for name, tensor in before.items()}
    with pytest.raises(StepAgain) as caught:
        MicroBatches(Objective(terms), None, halves=True).backward(model, five(case), 1)
    assert caught.value.__context__ is None  # nothing keeps the step's tensors in memory
    after = {**dict(model.named_buffers()), **teacher.state_dict()}
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert any("subspace" in name for name in before)


def test_a_short_batch_is_halved_by_its_own_rows() -> None:
    case = Case("sst", "bi")
    model, objective = tiny_model(case), MicroBatches(Objective([Greedy(2)]), None, halves=True)
    objective.size = 64
    with pytest.raises(StepAgain):
        objective.backward(model, five(case), 1)
    assert objective.size == 3


@pytest.mark.parametrize(
    ("size", "halves", "rows", "error"),
    [
        (None, False, 2, TOO_MUCH),
        (4, False, 2, TOO_MUCH),
        (None, True, 2, RuntimeError("DefaultCPUAllocator: can't allocate memory")),
    ],
    ids=["whole", "typed", "cpu"],
)
def test_elsewhere_the_error_stands(
    size: int | None, halves: bool, rows: int, error: Exception
) -> None:
    """A typed size is the user's, and on a CPU a lack of memory is another error."""
    case = Case("sst", "bi")
    model = tiny_model(case)
    objective = MicroBatches(Objective([Greedy(rows, error=error)]), size, halves=halves)
    with pytest.raises(type(error)) as caught:
        objective.backward(model, five(case), 1)
    assert caught.value is error
    assert objective.size == size


def test_a_row_has_no_half() -> None:
    case = Case("sst", "bi")
    model, objective = tiny_model(case), MicroBatches(Objective([Greedy(0)]), None, halves=True)
    for size in (3, 2, 1):
        with pytest.raises(StepAgain):
            objective.backward(model, five(case), 1)
        assert objective.size == size
    with pytest.raises(torch.OutOfMemoryError):
        objective.backward(model, five(case), 1)

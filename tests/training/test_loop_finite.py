"""Nothing but finite gradients, clipped as torch clips them, moves the weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.encoder.config import EncoderConfig
from minbert.model import MultitaskBert
from minbert.regularizers.objective import Objective
from minbert.support.errors import RunError
from minbert.training.loop import scale_gradients
from tests.helpers import same_tensors
from tests.training.training_runs import make_run


class Poisoned(Objective):
    """An objective whose loss, or one gradient, is not finite at the third step."""

    def __init__(self, where: str, value: float) -> None:
        super().__init__()
        self.calls, self.where, self.value = 0, where, value

    def backward(
        self, model: MultitaskBert, batch: Batch, seed: int, step: int | None = None, **more: bool
    ) -> dict[str, Tensor]:
        values = super().backward(model, batch, seed, step, **more)
        self.calls += 1
        if self.calls == 3:
            if self.where == "loss":
                values["loss"] = torch.tensor(self.value)
            else:
                weight = next(p for p in model.parameters() if p.grad is not None)
                assert weight.grad is not None
                weight.grad[0, 0] = self.value
        return values


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_stops_the_run_before_the_weights_move(
    tmp_path: Path, shape: EncoderConfig, where: str, value: float
) -> None:
    clean = make_run(tmp_path / "clean", shape)
    clean.change(total_steps=2)
    clean()
    run = make_run(tmp_path / "poisoned", shape)
    run.objective = Poisoned(where, value)
    with pytest.raises(RunError, match=r"step 2, task sts: .* ids: \d"):
        run()
    assert same_tensors(run.model.state_dict(), clean.model.state_dict())
    assert len(run.log) == 2


class OnAccelerator(Tensor):
    """A CPU tensor that says it lies elsewhere, so that the device's branch is taken."""

    device: Any = SimpleNamespace(type="cuda")


@pytest.mark.parametrize("place", ["cpu", "accelerator"])
@pytest.mark.parametrize("clip", [None, 0.5, 1e3])
def test_clipping_is_torchs(place: str, clip: float | None) -> None:
    torch.manual_seed(2)
    params = [torch.nn.Parameter(torch.zeros(size)) for size in ((3, 4), (5,))]
    for param in params:
        param.grad = torch.randn(param.shape)
    gradients = [param.grad.clone() for param in params if param.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if place == "accelerator":
        norm = norm.as_subclass(OnAccelerator)
    scale_gradients(gradients, norm, torch.tensor(1.0), clip)
    if clip is not None:
        torch.nn.utils.clip_grad_norm_(params, clip)
    for ours, param in zip(gradients, params, strict=True):
        torch.testing.assert_close(ours, param.grad, rtol=1e-6, atol=0)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize(
    ("loss", "entry", "found"),
    [
        (1.0, float("nan"), 1.0),
        (1.0, float("inf"), 1.0),
        (float("nan"), 1.0, 1.0),
        (float("inf"), 1.0, 1.0),
        (1.0, 1.0, 0.0),
    ],
)
def test_on_a_device_the_optimizer_hears_of_what_is_not_finite(
    clip: float | None, loss: float, entry: float, found: float
) -> None:
    gradients = [torch.ones(2, 3), torch.tensor([entry, 2.0])]
    norm = torch.nn.utils.get_total_norm(gradients).as_subclass(OnAccelerator)
    answer = scale_gradients(gradients, norm, torch.tensor(loss), clip)
    assert answer is not None and answer.item() == found


def test_on_a_cpu_the_journal_has_stopped_already() -> None:
    gradients = [torch.ones(3)]
    assert scale_gradients(gradients, torch.ones(()), torch.ones(()), 0.5) is None

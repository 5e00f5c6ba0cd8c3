"""How often a training step makes the host wait for a GPU: counted on the CPU, by what is asked.

A GPU works behind the host's back until the host asks for a number, or for how many there are.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from minbert.encoder import bert
from minbert.encoder.config import EncoderConfig
from minbert.encoder.unpadding import Layout, PaddedLayout, UnpaddedLayout
from minbert.regularizers import spectral
from minbert.regularizers.freelb import FreeLB
from minbert.regularizers.objective import Objective
from minbert.regularizers.r3f import R3F
from minbert.regularizers.smart.adversarial import Adversarial
from minbert.regularizers.smart.bregman import Bregman
from minbert.training.journal import Journal
from minbert.training.loop import train_step
from minbert.training.optimizer import AdamW
from tests.helpers import make_encoder, make_model, random_dataset

aten = torch.ops.aten
ASKING = {
    *("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal"),
    *("_linalg_eigh", "_linalg_svd", "_linalg_eigvals", "repeat_interleave", "bincount"),
}
READING = {Tensor.tolist, Tensor.numpy, Tensor.cpu}
FLUSHED = 3  # steps
ACCELERATOR: Any = SimpleNamespace(type="cuda")  # values stay on the CPU; only its name differs


class _Operators(TorchDispatchMode):
    """Counts operators that read a number, or whose result has a size that only numbers tell."""

    count = 0

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        rows = args[1] if name in ("index", "index_put_", "_index_put_impl_") else ()
        masked = any(isinstance(row, Tensor) and row.dtype == torch.bool for row in rows)
        self.count += name in ASKING or masked
        return func(*args, **(kwargs or {}))


class _Readings(TorchFunctionMode):
    """Counts the ways to the host that no operator shows."""

    count = 0

    def __torch_function__(
        self, func: Any, _types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += func in READING
        return func(*args, **(kwargs or {}))


def waits(work: Any) -> int:
    with _Operators() as operators, _Readings() as readings:
        work()
    return operators.count + readings.count


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: x.tolist(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: torch.linalg.eigh(x),
    ],
)
def test_what_waits_is_counted(work: Any) -> None:
    assert waits(lambda: work(torch.eye(2))) == 1
    assert waits(lambda: torch.eye(2) @ torch.eye(2)) == 0


@pytest.mark.parametrize("layout", [PaddedLayout, UnpaddedLayout])
@pytest.mark.parametrize("method", ["plain", "SMART", "R3F", "R4F", "FreeLB"])
def test_a_step_waits_where_the_log_is_flushed_and_nowhere_else(
    tiny: EncoderConfig, method: str, layout: type[Layout], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[type[Layout]] = []

    def as_on_a_gpu(
        mask: Tensor, heads: int, _count: int | None, computed: Tensor | None = None
    ) -> Layout:
        key_mask = mask.bool()[:, None, None]
        chosen.append(PaddedLayout if computed is None else UnpaddedLayout)
        if computed is None:
            return PaddedLayout(key_mask, heads)
        return UnpaddedLayout(key_mask, heads, computed)

    monkeypatch.setattr(bert, "choose_layout", as_on_a_gpu)
    model = make_model(make_encoder(tiny))
    objectives = {
        "plain": lambda: Objective(),
        "SMART": lambda: Objective([Adversarial(), Bregman(model)]),
        "R3F": lambda: Objective([R3F()]),
        "R4F": lambda: Objective([R3F(normalized_heads=True)]),
        "FreeLB": lambda: FreeLB(init=0.1, radius=0.1),
    }
    if method == "R4F":
        spectral.normalize([model.heads])
    data = random_dataset("para", 8)
    plan = SimpleNamespace(seed=0, clip=1.0, fresh_at=-1, learning_rate=lambda _step: 1e-3)
    trainee: Any = SimpleNamespace(
        model=model,
        plan=plan,
        optimizer=AdamW(model.parameters()),
        objective=objectives[method](),
    )
    log: Any = SimpleNamespace(write=lambda _rows: None)
    journal = Journal(log, ACCELERATOR, flush_every=FLUSHED)

    def step(number: int) -> None:
        batch = data.batch(np.arange(8), torch.device("cpu"))
        if layout is UnpaddedLayout:
            computed = torch.arange(batch.padded_tokens)
            batch = replace(batch, tokens=replace(batch.tokens, computed=computed))
        train_step(trainee, number, [batch], journal)

    found = [waits(lambda n=number: step(n)) for number in range(1, 2 * FLUSHED + 1)]
    assert found == [0, 0, 1] * 2
    assert set(chosen) == {layout}

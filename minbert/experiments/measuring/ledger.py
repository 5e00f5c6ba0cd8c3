"""What a training step costs, counted without computing anything: passes, operations, units.

A forward unit is a forward pass of the batch. An input gradient costs about one more, a weight
gradient another, so that a plain step costs 3. Under `shapes_only` tensors have shapes and no data,
which is enough to count. The operations are those of matrix products, which
`torch.utils.flop_counter` has formulas for; it has none for the fused attention of a CPU, so what
is counted must have the reference attention.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.flop_counter import FlopCounterMode

from minbert.data.batches import Batch
from minbert.encoder.bert import BertLayer
from minbert.model import MultitaskBert
from minbert.regularizers.freelb import FreeLB
from minbert.regularizers.objective import Objective


@dataclass(frozen=True)
class Count:
    """A step's passes of the whole batch through the encoder, its operations and forward units."""

    forward: float
    backward: float  # whether or not weight gradients are taken along
    flops: int
    units: float


def count(model: MultitaskBert, objective: Objective | FreeLB, batch: Batch) -> Count:
    """A training step on `batch`, all but the optimizer's update, which has no matrix product."""
    forward = flops(lambda: model(batch, mask_seed=1))

    def step() -> None:
        objective.backward(model, batch, seed=1)
        objective.after_step(model)

    with _counted_rows() as rows:
        operations = flops(step)
    assert batch.tokens is not None
    whole = len(batch.tokens.input_ids) * model.encoder.config.num_hidden_layers
    return Count(rows.forward / whole, rows.backward / whole, operations, operations / forward)


def flops(work: Callable[[], object]) -> int:
    """Multiplications and additions of the matrix products in `work`."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Within the block new tensors have shapes and no data: models of any width cost nothing."""
    with warnings.catch_warnings(), _Shapes():
        # copying a model asks for its tensors' addresses, which they have not
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
        yield


class _Shapes(FakeTensorMode):
    """A copied tensor stays in the one mode: by default the mode would be copied with it."""

    def __deepcopy__(self, _memo: dict[int, Any]) -> _Shapes:
        return self


@dataclass
class _LayerPasses:
    """Texts that passed a layer of an encoder, whichever encoder's it was."""

    forward: int = 0
    backward: int = 0

    def passed(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, BertLayer):
            texts = len(inputs[1].key_mask)
            self.forward += texts
            if output.requires_grad:
                output.register_hook(lambda _gradient: self.came_back(texts))

    def came_back(self, texts: int) -> None:
        self.backward += texts


@contextlib.contextmanager
def _counted_rows() -> Iterator[_LayerPasses]:
    rows = _LayerPasses()
    hook = register_module_forward_hook(rows.passed)
    try:
        yield rows
    finally:
        hook.remove()

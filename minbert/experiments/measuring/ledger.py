"""The cost of a training step, counted without computing anything: passes, operations, units.

A forward unit is a forward pass of the batch. An input gradient costs about one unit more, a weight
gradient another, so that a plain step costs 3. Under `shapes_only` tensors have shapes and no data,
which is enough to count. Operations are those of matrix products, as `torch.utils.flop_counter`
counts them; it has no formula for the fused attention of a CPU, so a model that is counted must
have the reference attention.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.flop_counter import FlopCounterMode

from minbert.data.batches import Batch
from minbert.encoder.bert import BertLayer
from minbert.model import MultitaskBert
from minbert.regularizers.method import BatchObjective


@dataclass(frozen=True)
class Count:
    """A step's passes of the whole batch through the encoder, its operations and forward units."""

    forward: float
    backward: float  # whether or not weight gradients are taken along
    flops: int
    units: float


def count(model: MultitaskBert, objective: BatchObjective, batch: Batch) -> Count:
    """Count a training step on `batch`, without the optimizer's update (no matrix product)."""
    forward = flops(lambda: model(batch, mask_seed=1))

    def step() -> None:
        objective.backward(model, batch, seed=1)
        objective.after_step(model)

    passes: Counter[str] = Counter()
    with register_module_forward_hook(partial(_count_pass, passes)):
        operations = flops(step)
    assert batch.tokens is not None
    whole = len(batch.tokens.input_ids) * model.encoder.config.num_hidden_layers
    forwards, backwards = passes["forward"] / whole, passes["backward"] / whole
    return Count(forwards, backwards, operations, operations / forward)


def _count_pass(passes: Counter[str], module: nn.Module, inputs: Any, output: Any) -> None:
    """Add the texts that pass a layer of any encoder to `forward`, and later to `backward`."""
    if isinstance(module, BertLayer):
        texts = len(inputs[1].layout.key_mask)
        passes["forward"] += texts
        if output.requires_grad:
            output.register_hook(lambda _gradient: passes.update(backward=texts))


def flops(work: Callable[[], object]) -> int:
    """Multiplications and additions of the matrix products in `work`."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Give new tensors shapes and no data within the block: models of any width cost nothing."""
    with warnings.catch_warnings(), _Shapes():
        # copying a model asks for its tensors' addresses, which they have not
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
        yield


class _Shapes(FakeTensorMode):
    """A mode that a copied tensor stays in: by default the mode would be copied with the tensor."""

    def __deepcopy__(self, _memo: dict[int, Any]) -> _Shapes:
        return self

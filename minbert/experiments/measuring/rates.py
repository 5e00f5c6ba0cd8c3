"""The machine's own rate of matrix products, and the share of it that training passes reach."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from minbert.data.batches import Batch
from minbert.encoder.bert import BertModel
from minbert.experiments.measuring import ledger
from minbert.experiments.measuring.spread import Spread
from minbert.experiments.measuring.trial import Trial, seconds_of
from minbert.finetune.build import build_model
from minbert.finetune.config import RunConfig

_SIZES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192), "mps": (1024, 2048)}
_PRODUCTS = 5  # of each size


@dataclass(frozen=True)
class Rate:
    """Operations a second of square matrix products: the best size's median."""

    size: int
    dtype: str
    flops: float


@dataclass(frozen=True)
class Share:
    """The operations a second that forward and backward passes reach, and their share of the rate.

    Operations are those of matrix products (`counted_operations`): median and quartiles.
    """

    encoder: str
    batch_size: int
    flops: float
    flops_low: float
    flops_high: float
    share: float


def measured_rate(device: torch.device, autocast: torch.dtype | None) -> Rate:
    """The machine's rate, in the precision that training passes have."""
    dtype = autocast or torch.float32
    rates = [rate_of(size, device, dtype) for size in _SIZES[device.type]]
    return max(rates, key=lambda rate: rate.flops)


def rate_of(size: int, device: torch.device, dtype: torch.dtype) -> Rate:
    """The rate of products of two such matrices."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    torch.mm(left, right)
    seconds = [seconds_of(lambda: torch.mm(left, right), device) for _ in range(_PRODUCTS)]
    return Rate(size, str(dtype).removeprefix("torch."), 2 * size**3 / float(np.median(seconds)))


def reached(encoder: str, trial: Trial, batches: Sequence[Batch], rate: Rate, rounds: int) -> Share:
    """Measure forward and backward over `batches`, `rounds` times over."""
    device, model = trial.batch.labels.device, trial.model
    operations = counted_operations(trial, batches)

    def passes() -> None:
        for number, batch in enumerate(batches):
            trial.objective.backward(model, batch, seed=number)
            model.zero_grad()

    passes()
    rates = Spread.of([operations / seconds_of(passes, device) for _ in range(rounds)])
    size = len(batches[0].ids)
    return Share(encoder, size, share=rates.median / rate.flops, **rates.columns("flops"))


def counted_operations(trial: Trial, batches: Sequence[Batch]) -> int:
    """The operations of forward and backward over all batches, also on padding in attention.

    They are counted while they run, with the reference attention, which the counter knows.
    """
    job = RunConfig(option="finetune", tasks=(batches[0].name,)).resolved()
    encoder = BertModel(trial.model.encoder.config, "reference")
    device = batches[0].labels.device
    model = build_model(job, encoder, device).to(device)

    def work() -> None:
        for batch in batches:
            batch.task.loss(model(batch), batch.labels).backward()

    return ledger.flops(work)

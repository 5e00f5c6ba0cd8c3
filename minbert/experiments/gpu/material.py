"""What the parts measure on: an encoder of random weights, batches of mixed lengths, methods."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from minbert.data.batches import Batch
from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.experiments.measuring.batch import random_batch
from minbert.experiments.measuring.trial import Trial
from minbert.finetune.config import ResolvedConfig, RunConfig
from minbert.support.device import pick_device, pick_precision
from minbert.support.randomness import seeded

TASK = "para"  # two texts an example
METHODS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "SMART": {"smart": True},
    "R3F": {"r3f": True},
    "FreeLB": {"freelb": True},
}
READABLE: Mapping[str, Mapping[str, Any]] = {  # without CUDA graphs and split products
    f"{name}, readable": {**METHODS[name], "readable": True} for name in ("plain", "SMART")
}
_VOCABULARY = 8192  # at least that of the bundled encoder


@dataclass(frozen=True)
class Sizes:
    """How large the work is: `batches` are (pairs, tokens of the longest text)."""

    shape: EncoderConfig
    compared_shape: EncoderConfig  # of the encoder that a CPU trains beside
    batches: tuple[tuple[int, int], ...]
    rounds: int  # of timed stretches
    steps: int  # in a stretch
    compared: int  # steps whose losses are compared
    product: int  # rows and columns of the matrices that the machine's rate is measured with
    job_steps: int
    pretrain_steps: int


_BUNDLED = EncoderConfig(
    vocab_size=_VOCABULARY,
    hidden_size=256,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=1024,
)
_SMALL = EncoderConfig(
    vocab_size=_VOCABULARY,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
)
_BATCHES = ((16, 32), (32, 32), (64, 32), (128, 64))  # the last has 16,384 tokens a step
FULL = Sizes(EncoderConfig(), _BUNDLED, _BATCHES, 5, 5, 20, 8192, 240, 60)
TINY = Sizes(_SMALL, _SMALL, ((2, 8),), 2, 1, 2, 64, 3, 2)


@dataclass(frozen=True)
class Setting:
    """Where a part runs: on which device, in which sizes, with which files."""

    kind: str  # of the device
    tiny: bool
    data_dir: Path
    out: Path

    @property
    def device(self) -> torch.device:
        """The device, set up as a run sets it up."""
        return pick_device(self.kind)

    @property
    def sizes(self) -> Sizes:
        """How large the work is."""
        return TINY if self.tiny else FULL

    @property
    def precision(self) -> str:
        """What a plain step has here."""
        return pick_precision("auto", self.device, lowers=False)

    def encoder(self, shape: EncoderConfig | None = None) -> BertModel:
        """An encoder of this shape, by default the sizes'; its weights are always the same."""
        with seeded(0, torch.device("cpu")):
            return BertModel(shape or self.sizes.shape)

    def batch(self, size: int, length: int, device: torch.device | None = None) -> Batch:
        """Pairs of random ids whose texts have from half of `length` tokens to all of them."""
        return random_batch(
            TASK,
            size,
            length,
            views=2,
            vocab_size=_VOCABULARY,
            device=device or self.device,
            shortest=length // 2,
        )

    def trial(self, method: str, encoder: BertModel, batch: Batch, precision: str) -> Trial:
        """A method about to train, on the batch's device."""
        return Trial.prepare(job_of({**METHODS, **READABLE}[method], precision), encoder, batch)


def job_of(settings: Mapping[str, Any], precision: str) -> ResolvedConfig:
    """The main job that trains on pairs with these settings."""
    job = RunConfig(option="finetune", tasks=(TASK,), precision=precision, lr=1e-5, **settings)
    return job.resolved()


def named(size: int, length: int) -> str:
    """A batch's name in tables."""
    return f"{size} pairs of {length} tokens"

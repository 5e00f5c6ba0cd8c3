"""What pretraining minimises: the masked words' cross-entropy plus the next-sentence one.

Rows are masked anew at every step, from the step's seed. Dimensions: B rows, T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from minbert.data.batches import Padded
from minbert.pretrain.masking import Masked, Masker
from minbert.pretrain.model import PretrainingBert
from minbert.pretrain.order import TASK
from minbert.pretrain.shards import PackedText, Rows
from minbert.support.console import ProgressBar
from minbert.support.device import at_least_fp32
from minbert.support.randomness import derive_seed, generator
from minbert.training.loop import Scored


@dataclass(frozen=True)
class TextBatch:
    """B packed rows, unmasked, on the CPU."""

    ids: tuple[str, ...]
    rows: Rows

    @property
    def name(self) -> str:
        """What the log calls it."""
        return TASK

    @property
    def real_tokens(self) -> int:
        """Tokens, padding apart."""
        return int(self.rows.lengths.sum())

    @property
    def padded_tokens(self) -> int:
        """The same with padding."""
        return len(self.rows.lengths) * int(self.rows.lengths.max())


def text_batch(text: PackedText, indices: NDArray[np.int64]) -> TextBatch:
    """The rows at `indices`."""
    return TextBatch(tuple(f"row {index}" for index in indices), text.take(indices))


class PretrainingObjective:
    """Mean cross-entropy over masked words, plus that over rows where there is such a head.

    A batch runs in pieces of `piece` rows, so that it may be larger than memory; the gradient is
    the whole batch's.
    """

    def __init__(self, masker: Masker, piece: int) -> None:
        self._masker, self._piece = masker, piece

    def backward(
        self,
        model: PretrainingBert,
        batch: TextBatch,
        seed: int,
        step: int | None = None,  # noqa: ARG002  nothing depends on it
    ) -> dict[str, Tensor]:
        """Add this batch's gradients; returns `loss`, `mlm_loss` and, with pairs, `nsp_loss`."""
        masked = mask_rows(self._masker, batch.rows, seed)
        totals: dict[str, Tensor] = {}
        for piece in pieces(batch.rows, masked, self._piece):
            dropout = derive_seed(seed, "dropout", piece.rows.start)
            losses = piece_losses(model, piece, dropout)
            parts = {"mlm_loss": losses["mlm_loss"] / len(masked.targets)}
            if "nsp_loss" in losses:
                parts["nsp_loss"] = losses["nsp_loss"] / len(batch.ids)
            parts["loss"] = torch.stack(list(parts.values())).sum()
            parts["loss"].backward()
            for name, value in parts.items():
                totals[name] = totals.get(name, 0) + value.detach()
        return totals

    def after_step(self, model: PretrainingBert) -> None:
        """Nothing follows a step."""

    def state_dict(self) -> dict[str, Tensor]:
        """There is no state."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """There is no state."""


def mask_rows(masker: Masker, rows: Rows, seed: int) -> Masked:
    """The rows, cut to the longest, with masks that `seed` decides."""
    ids = torch.from_numpy(rows.ids[:, : int(rows.lengths.max())])
    return masker(ids, generator(derive_seed(seed, "masking")))


@dataclass(frozen=True)
class Piece:
    """Some rows of a masked batch, and which of its masked words are in them."""

    batch: Rows
    masked: Masked
    rows: slice
    words: slice

    def tokens(self, device: torch.device) -> Padded:
        """The encoder's input."""
        input_ids = self.masked.input_ids[self.rows]
        place = torch.arange(input_ids.size(1))
        lengths, splits = (
            torch.from_numpy(values[self.rows])[:, None]
            for values in (self.batch.lengths, self.batch.splits)
        )
        real = place < lengths  # (B, T)
        second = real & (place >= splits)
        ids, mask, types = (
            _sent(tensor, device) for tensor in (input_ids, real.long(), second.long())
        )
        return Padded(ids, mask, types, self.batch.lengths[self.rows])

    def positions(self, device: torch.device) -> Tensor:
        """The positions of the masked words among the tokens of these padded rows."""
        first = self.rows.start * self.masked.input_ids.size(1)
        return _sent(self.masked.positions[self.words] - first, device)

    def targets(self, device: torch.device) -> Tensor:
        """The words that were masked."""
        return _sent(self.masked.targets[self.words], device)

    def is_random(self, device: torch.device) -> Tensor:
        """Next-sentence labels of the rows."""
        return _sent(torch.from_numpy(self.batch.is_random[self.rows]), device)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":
        tensor = tensor.contiguous().pin_memory()
    return tensor.to(device, non_blocking=True)


def pieces(rows: Rows, masked: Masked, size: int) -> Iterator[Piece]:
    """A masked batch in pieces of `size` rows."""
    count, length = masked.input_ids.shape
    bounds = torch.arange(0, count + size, size).clamp(max=count)
    words = torch.searchsorted(masked.positions, bounds * length).tolist()
    for (first, last), (begin, end) in zip(pairwise(bounds.tolist()), pairwise(words), strict=True):
        yield Piece(rows, masked, slice(first, last), slice(begin, end))


def piece_losses(
    model: PretrainingBert, piece: Piece, mask_seed: int | None = None
) -> dict[str, Tensor]:
    """Summed cross-entropies of a piece: `mlm_loss` and, where the model has the head, `nsp_loss`;
    beside that `nsp_right`, how many rows were told right.
    """
    device = model.device
    words, rows = model(piece.tokens(device), piece.positions(device), mask_seed)
    targets, labels = piece.targets(device), piece.is_random(device)
    found = {"mlm_loss": F.cross_entropy(at_least_fp32(words), targets, reduction="sum")}
    if rows is not None:
        found["nsp_loss"] = F.cross_entropy(at_least_fp32(rows), labels, reduction="sum")
        found["nsp_right"] = (rows.argmax(dim=1) == labels).sum()
    return found


@torch.no_grad()
def score_held_out(model: PretrainingBert, rows: Rows, masker: Masker, piece: int) -> Scored:
    """Perplexity of masked words and next-sentence accuracy over the rows, always the same masks.

    The criterion is minus the sum of the two losses.
    """
    count = len(rows.lengths)
    masked = mask_rows(masker, rows, seed=0)
    sums = dict.fromkeys(("mlm_loss", "nsp_loss", "nsp_right"), 0.0)
    with ProgressBar(count, "held-out text", "rows") as bar:
        for part in pieces(rows, masked, piece):
            for name, value in piece_losses(model, part).items():
                sums[name] += value.item()
            bar.update(part.rows.stop - part.rows.start)
    loss, nsp_loss = sums["mlm_loss"] / len(masked.targets), sums["nsp_loss"] / count
    scores = {"mlm loss": loss, "perplexity": math.exp(min(loss, 700.0))}
    if model.nsp is not None:
        scores["nsp accuracy"] = sums["nsp_right"] / count
    return Scored(scores, -loss - nsp_loss, {})

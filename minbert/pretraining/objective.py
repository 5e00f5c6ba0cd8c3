"""What pretraining minimises: the masked words' cross-entropy plus the next-sentence one.

Rows are masked anew at every step, from the step's seed. Dimensions: B rows, T tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from minbert.batching import Padded
from minbert.pretraining.masking import Masked, Masker
from minbert.pretraining.model import PretrainingBert
from minbert.pretraining.order import TASK
from minbert.pretraining.shards import PackedText, Rows
from minbert.runtime import ProgressBar, at_least_fp32, derive_seed, generator
from minbert.train import Scored


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
    def computed_tokens(self) -> int:
        """Tokens that go through the encoder."""
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

    def backward(self, model: PretrainingBert, batch: TextBatch, seed: int) -> dict[str, Tensor]:
        """Add this batch's gradients; returns `loss`, `mlm_loss` and, with pairs, `nsp_loss`."""
        masked = mask_rows(self._masker, batch.rows, seed)
        rows, longest = masked.input_ids.shape
        totals: dict[str, Tensor] = {}
        for first in range(0, rows, self._piece):
            last = min(first + self._piece, rows)
            begin, end = np.searchsorted(masked.positions, [first * longest, last * longest])
            piece = Piece(batch.rows, masked, slice(first, last), slice(int(begin), int(end)))
            of_words, of_rows = (end - begin) / len(masked.targets), (last - first) / rows
            shares = {"mlm_loss": of_words, "nsp_loss": of_rows}
            terms = piece_losses(model, piece, derive_seed(seed, "dropout", first))
            parts = {name: value * shares[name] for name, value in terms.items()}
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
        return Padded(ids, mask, types, int(lengths.sum()))

    def positions(self, device: torch.device) -> Tensor:
        """Of the masked words, in these rows flattened."""
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


def piece_losses(model: PretrainingBert, piece: Piece, mask_seed: int | None) -> dict[str, Tensor]:
    """Mean cross-entropies of a piece: `mlm_loss` and, where the model has the head, `nsp_loss`."""
    device = model.device
    words, rows = model(piece.tokens(device), piece.positions(device), mask_seed)
    losses = {"mlm_loss": F.cross_entropy(at_least_fp32(words), piece.targets(device))}
    if rows is not None:
        losses["nsp_loss"] = F.cross_entropy(at_least_fp32(rows), piece.is_random(device))
    return losses


@torch.no_grad()
def score_held_out(model: PretrainingBert, text: PackedText, masker: Masker, piece: int) -> Scored:
    """Perplexity of masked words and next-sentence accuracy over all rows, always the same masks.

    The criterion is minus the sum of the two losses.
    """
    sums = {"words": 0.0, "word_loss": 0.0, "rows": 0.0, "row_loss": 0.0, "right": 0.0}
    with ProgressBar(len(text), "held-out text", "rows") as bar:
        for first in range(0, len(text), piece):
            rows = text.take(np.arange(first, min(first + piece, len(text))))
            for name, value in _counted(model, rows, mask_rows(masker, rows, first)).items():
                sums[name] += value
            bar.update(len(rows.lengths))
    loss = sums["word_loss"] / sums["words"]
    scores = {"mlm loss": loss, "perplexity": math.exp(min(loss, 700.0))}
    criterion = -loss
    if model.nsp is not None:
        scores["nsp accuracy"] = sums["right"] / sums["rows"]
        criterion -= sums["row_loss"] / sums["rows"]
    return Scored(scores, criterion, {})


def _counted(model: PretrainingBert, rows: Rows, masked: Masked) -> dict[str, float]:
    device = model.device
    piece = Piece(rows, masked, slice(0, len(rows.lengths)), slice(0, len(masked.targets)))
    words, pairs = model(piece.tokens(device), piece.positions(device))
    loss = F.cross_entropy(at_least_fp32(words), piece.targets(device), reduction="sum")
    found = {"words": float(len(masked.targets)), "word_loss": float(loss)}
    if pairs is not None:
        pairs, labels = at_least_fp32(pairs), piece.is_random(device)
        found["rows"] = float(len(labels))
        found["row_loss"] = float(F.cross_entropy(pairs, labels, reduction="sum"))
        found["right"] = float((pairs.argmax(dim=1) == labels).sum())
    return found

"""The objective of pretraining: the masked words' cross-entropy plus the next-sentence one.

Rows are masked anew at every step, from the step's seed. Dimensions: B rows, T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from minbert.data.batches import Padded, padded_width
from minbert.pretrain.masking import Masked, Masker
from minbert.pretrain.model import PretrainingBert
from minbert.pretrain.order import TASK
from minbert.pretrain.shards import PackedRows, PackedText
from minbert.support.console import ProgressBar
from minbert.support.device import at_least_fp32, to_device
from minbert.support.randomness import derive_seed, generator
from minbert.training.plan import Alone, ByPasses, Differentiable, Differentiate, Evaluation

_WORDS = 32  # masked words, to multiples of which a GPU's pieces are filled up
_IGNORED = -100  # a target that counts for nothing, as torch has it


@dataclass(frozen=True)
class TextBatch:
    """B packed rows, unmasked, on the CPU; a part of a batch trains those `taken` among them."""

    ids: tuple[str, ...]
    rows: PackedRows
    taken: slice | None = None  # all
    name: str = TASK  # the one task, as the log has it

    def part(self, rows: slice, seed: int) -> tuple[TextBatch, float, int]:
        """Some of the rows; losses are over what all have, so they count in full.

        The seed is the whole batch's: it decides the masks of all rows.
        """
        return replace(self, ids=self.ids[rows], taken=rows), 1.0, seed

    @property
    def real_tokens(self) -> int:
        """Tokens without padding."""
        return int(self.rows.lengths.sum())

    @property
    def padded_tokens(self) -> int:
        """Tokens with padding."""
        return len(self.rows.lengths) * int(self.rows.lengths.max())


def text_batch(text: PackedText, indices: NDArray[np.int64]) -> TextBatch:
    """The rows at `indices`."""
    return TextBatch(tuple(f"row {index}" for index in indices), text.take(indices))


class PieceObjective(ByPasses[PretrainingBert, Any]):
    """What a piece adds to the losses of its batch: the one kind of pass that pretraining makes."""

    def passes(
        self,
        model: PretrainingBert,
        batch: Piece,
        seed: int,
        step: int | None,  # noqa: ARG002  nothing depends on it
        differentiate: Differentiate,
    ) -> dict[str, Tensor]:
        """Hand over a piece's loss; `seed` decides its dropout masks."""
        losses = piece_losses(model, batch, seed)
        words, rows = batch.counts
        parts = {"mlm_loss": losses["mlm_loss"] / words}
        if "nsp_loss" in losses:
            parts["nsp_loss"] = losses["nsp_loss"] / rows
        parts["loss"] = torch.stack(list(parts.values())).sum()
        differentiate(parts["loss"], True)
        return {name: value.detach() for name, value in parts.items()}

    def recordable(self, _piece: Piece, _step: int | None) -> bool:
        """Whether its passes can be recorded: always."""
        return True

    def after_step(self, model: PretrainingBert) -> None:
        """Do nothing."""

    def state_dict(self) -> dict[str, Tensor]:
        """The state, which is empty."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Do nothing."""


class PretrainingObjective(Differentiable[PretrainingBert, TextBatch]):
    """Mean cross-entropy over masked words, plus the mean over rows if the model has that head.

    A batch runs in pieces of `piece` rows, so that it may be larger than memory; the gradient is
    the whole batch's.
    """

    def __init__(
        self, masker: Masker, piece: int, of_piece: ByPasses[PretrainingBert, Any] | None = None
    ) -> None:
        """`of_piece` is a `PieceObjective`, maybe by CUDA graphs."""
        self._masker, self._piece = masker, piece
        self._of_piece = of_piece or PieceObjective()

    def passes(
        self,
        model: PretrainingBert,
        batch: TextBatch,
        seed: int,
        step: int | None,
        differentiate: Differentiate,
    ) -> dict[str, Tensor]:
        """Hand over the pieces' losses; return `loss`, `mlm_loss` and, with pairs, `nsp_loss`."""
        masked = mask_rows(self._masker, batch.rows, seed)
        taken = batch.taken or slice(None)
        numbers = range(len(batch.rows.lengths))[taken]  # of the part's rows in the whole batch
        rows, own = batch.rows.part(taken), masked.part(taken)
        totals: dict[str, Tensor] = {}
        counts = len(masked.targets), len(batch.rows.lengths)
        for piece in pieces(rows, own, self._piece, model.device, counts):
            mask_seed = derive_seed(seed, "dropout", numbers[piece.first])
            final = _final_if(differentiate, piece.first + self._piece >= len(numbers))
            values = self._of_piece.passes(model, piece, mask_seed, step, final)
            for name, value in values.items():
                totals[name] = totals.get(name, 0) + value
        return totals


def _final_if(differentiate: Differentiate, final: bool) -> Differentiate:
    """What takes a piece's losses: with `final` its last is the batch's last."""
    if isinstance(differentiate, Alone):
        return differentiate
    return lambda loss, last: differentiate(loss, last and final)


def mask_rows(masker: Masker, rows: PackedRows, seed: int) -> Masked:
    """The rows, cut to the longest, with masks that `seed` decides."""
    ids = torch.from_numpy(rows.ids[:, : int(rows.lengths.max())])
    return masker(ids, generator(derive_seed(seed, "masking")))


@dataclass(frozen=True)
class Piece:
    """Some rows of a masked batch on the device: b rows with m masked words.

    On a GPU there are few different m and T (`padded_width`): m counts targets that are ignored.
    """

    first: int  # the number of the first row in the batch
    tokens: Padded  # of (b, T)
    positions: Tensor  # (m,) of the masked words in these rows flattened
    targets: Tensor  # (m,) the words that were masked
    is_random: Tensor  # (b,) next-sentence labels
    counts: Tensor  # (2,) masked words and rows of the whole batch
    name: str = TASK


def pieces(
    rows: PackedRows,
    masked: Masked,
    size: int,
    device: torch.device,
    counts: tuple[int, int] = (1, 1),
) -> Iterator[Piece]:
    """A masked batch in pieces of `size` rows; `counts` are those of the batch that it is of."""
    count, length = masked.input_ids.shape
    width = padded_width(length, rows.ids.shape[1], device)
    place = torch.arange(width)
    of_batch = to_device(np.array(counts, dtype=np.float32), device)
    for first in range(0, count, size):
        part, offset = slice(first, first + size), first * length
        real = place < torch.from_numpy(rows.lengths[part])[:, None]  # (b, T)
        second = real & (place >= torch.from_numpy(rows.b_starts[part])[:, None])
        bounds = torch.tensor([offset, offset + size * length])
        begin, end = torch.searchsorted(masked.positions, bounds).tolist()
        own_ids = F.pad(masked.input_ids[part], (0, width - length))
        ids, mask, types = (to_device(t, device) for t in (own_ids, real.long(), second.long()))
        positions = masked.positions[begin:end] - offset
        positions = positions // length * width + positions % length
        more = padded_width(end - begin, size * width, device, step=_WORDS) - (end - begin)
        yield Piece(
            first,
            Padded(ids, mask, types, rows.lengths[part]),
            to_device(F.pad(positions, (0, more)), device),
            to_device(F.pad(masked.targets[begin:end], (0, more), value=_IGNORED), device),
            to_device(rows.is_random[part], device),
            of_batch,
        )


def piece_losses(
    model: PretrainingBert, piece: Piece, mask_seed: int | None = None
) -> dict[str, Tensor]:
    """Summed cross-entropies of a piece: `mlm_loss` and, if the model has that head, `nsp_loss`.

    Beside `nsp_loss` stands `nsp_right`, the number of rows that were told right.
    """
    words, rows = model(piece.tokens, piece.positions, mask_seed)
    labels = piece.is_random
    losses = {"mlm_loss": F.cross_entropy(at_least_fp32(words), piece.targets, reduction="sum")}
    if rows is not None:
        losses["nsp_loss"] = F.cross_entropy(at_least_fp32(rows), labels, reduction="sum")
        losses["nsp_right"] = (rows.argmax(dim=1) == labels).sum()
    return losses


@torch.no_grad()
def score_held_out(
    model: PretrainingBert, rows: PackedRows, masker: Masker, piece: int
) -> Evaluation:
    """Perplexity and next-sentence accuracy; the criterion is minus the sum of the two losses."""
    count = len(rows.lengths)
    masked = mask_rows(masker, rows, seed=0)  # the same masks at every scoring
    sums = dict.fromkeys(("mlm_loss", "nsp_loss", "nsp_right"), 0.0)
    with ProgressBar(count, "held-out text", "rows") as bar:
        for part in pieces(rows, masked, piece, model.device):
            for name, value in piece_losses(model, part).items():
                sums[name] += value.item()
            bar.update(len(part.is_random))
    loss, nsp_loss = sums["mlm_loss"] / len(masked.targets), sums["nsp_loss"] / count
    scores = {"mlm loss": loss, "perplexity": math.exp(min(loss, 700.0))}
    if model.nsp is not None:
        scores["nsp accuracy"] = sums["nsp_right"] / count
    return Evaluation(scores, -loss - nsp_loss, {})

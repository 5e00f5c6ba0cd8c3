"""Layouts that leave the padding of a batch out of everything but attention.

Dimensions: B texts, T tokens of the longest, N tokens that are computed, H hidden size, A heads,
D = H / A. A position is the index of a token in the padded texts, flattened to (B · T,). A row is
the vector of a token that is computed; its number is an index into the N.

Linear layers, dropout, GELU and LayerNorm treat every token alone, so N rows without padding are
enough for them. Attention needs a padded text for each head. Splitting the heads copies the tokens
in any case, and the same copy puts the padding back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

_MOST_TOKENS = 0.95  # share of tokens that are no padding, up to which the gathers pay


class Layout(Protocol):
    """A batch as padded texts (B, T, ...) and as rows (N, ...), and the ways between the two."""

    @property
    def heads(self) -> int:
        """The number of attention heads, A."""

    @property
    def key_mask(self) -> Tensor:
        """The attention mask (B, 1, 1, T), True at tokens and False at padding."""

    def flatten(self, texts: Tensor) -> Tensor:
        """Padded texts (B, T, H) to rows (N, H)."""

    def unflatten(self, rows: Tensor) -> Tensor:
        """Rows (N, H) to padded texts (B, T, H), 0 where nothing was computed."""

    def cls_rows(self, rows: Tensor) -> Tensor:
        """Rows (N, H) to those of [CLS], the first token of each text: (B, H)."""

    def row_numbers(self, positions: Tensor) -> Tensor:
        """Positions (M,), none of them padding, to the numbers of their rows (M,)."""

    def split_heads(self, rows: Tensor) -> Tensor:
        """Rows (N, H) to padded texts for each head, (B, A, T, D)."""

    def join_heads(self, context: Tensor) -> Tensor:
        """Padded texts for each head, (B, A, T, D), to rows (N, H)."""


def choose_layout(attention_mask: Tensor, heads: int, token_count: int | None = None) -> Layout:
    """The faster layout for a mask (B, T) that is 1 at tokens; `token_count`: its ones, if known.

    On a CPU padding is left out where there is enough of it to pay. It is computed on a GPU, and
    where a text does not begin with a token.
    """
    if attention_mask.device.type == "cpu":
        if token_count is None:
            token_count = int(attention_mask.count_nonzero())
        sparse = token_count <= _MOST_TOKENS * attention_mask.numel()
        if sparse and bool(attention_mask[:, 0].all()):
            return UnpaddedLayout.of(attention_mask.bool(), heads)
    return PaddedLayout(attention_mask.bool()[:, None, None, :], heads)


def texts_shape(layout: Layout) -> tuple[int, int]:
    """The number of texts and of tokens of the longest, (B, T)."""
    return layout.key_mask.size(0), layout.key_mask.size(-1)


@dataclass(frozen=True)
class PaddedLayout:
    """N = B · T rows: padding is computed like any token, and masked as a key."""

    key_mask: Tensor
    heads: int

    def flatten(self, texts: Tensor) -> Tensor:
        return texts.flatten(0, 1)

    def unflatten(self, rows: Tensor) -> Tensor:
        return rows.unflatten(0, texts_shape(self))

    def cls_rows(self, rows: Tensor) -> Tensor:
        # contiguous, as torch multiplies a strided matrix in another way where gradients are wanted
        return self.unflatten(rows)[:, 0].contiguous()

    def row_numbers(self, positions: Tensor) -> Tensor:
        return positions

    def split_heads(self, rows: Tensor) -> Tensor:
        return self.unflatten(rows).unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def join_heads(self, context: Tensor) -> Tensor:
        return context.transpose(1, 2).flatten(2).flatten(0, 1)


@dataclass(frozen=True)
class UnpaddedLayout:
    """N rows, tokens alone; padding exists between `split_heads` and `join_heads`, where it is 0.

    A part is what one head has of one row, (D,). Parts are numbered as they lie in the rows, and
    their places as they lie in the padded heads.
    """

    key_mask: Tensor
    heads: int
    positions: Tensor  # (N,): the position of each row, ascending
    cls_numbers: Tensor  # (B,): the row of each text's [CLS]
    part_places: Tensor  # (N · A,): the place of each part
    part_numbers: Tensor  # (B · A · T,): the part at each place; N · A at padding

    @classmethod
    def of(cls, mask: Tensor, heads: int) -> UnpaddedLayout:
        """Lay out `mask` (B, T), True at tokens, the first token of every text among them."""
        (count, length), device = mask.shape, mask.device
        positions = mask.flatten().nonzero().squeeze(1)
        lengths = mask.sum(dim=1)
        text, column = positions // length, positions % length
        head = torch.arange(heads, device=device)
        places = ((text[:, None] * heads + head) * length + column[:, None]).flatten()
        numbers = torch.full((count * heads * length,), len(places), device=device)
        numbers[places] = torch.arange(len(places), device=device)
        starts = lengths.cumsum(0) - lengths
        return cls(mask[:, None, None, :], heads, positions, starts, places, numbers)

    def flatten(self, texts: Tensor) -> Tensor:
        rows: Tensor = _Flatten.apply(texts.flatten(0, 1), self.positions)
        return rows

    def unflatten(self, rows: Tensor) -> Tensor:
        count, length = texts_shape(self)
        empty = rows.new_zeros(count * length, *rows.shape[1:])
        return empty.index_copy(0, self.positions, rows).unflatten(0, (count, length))

    def cls_rows(self, rows: Tensor) -> Tensor:
        return rows.index_select(0, self.cls_numbers)

    def row_numbers(self, positions: Tensor) -> Tensor:
        return torch.searchsorted(self.positions, positions)

    def split_heads(self, rows: Tensor) -> Tensor:
        heads: Tensor = _SplitHeads.apply(rows, self)
        return heads

    def join_heads(self, context: Tensor) -> Tensor:
        rows: Tensor = _JoinHeads.apply(context, self)
        return rows


# Torch's own gradients of these gathers add row by row, as if a row could be taken twice. Here no
# row is taken twice, so that the gradient is the opposite gather.


class _Flatten(torch.autograd.Function):
    """Padded tokens (B · T, H) to the rows at `positions`."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, positions: Tensor) -> Tensor:
        ctx.positions, ctx.count = positions, len(tokens)
        return tokens.index_select(0, positions)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        empty = gradient.new_zeros(ctx.count, *gradient.shape[1:])
        return empty.index_copy(0, ctx.positions, gradient), None


class _SplitHeads(torch.autograd.Function):
    """Rows (N, H) to (B, A, T, D), 0 at padding."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, layout: UnpaddedLayout) -> Tensor:
        ctx.layout = layout
        parts = rows.reshape(len(layout.part_places), -1)  # (N · A, D)
        parts = torch.cat([parts, parts.new_zeros(1, parts.size(1))])
        count, length = texts_shape(layout)
        shape = (count, layout.heads, length)
        return parts.index_select(0, layout.part_numbers).unflatten(0, shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.layout.join_heads(gradient), None


class _JoinHeads(torch.autograd.Function):
    """Padded heads (B, A, T, D) to rows (N, H)."""

    @staticmethod
    def forward(ctx: Any, context: Tensor, layout: UnpaddedLayout) -> Tensor:
        ctx.layout = layout
        parts = context.reshape(len(layout.part_numbers), -1)  # (B · A · T, D)
        return parts.index_select(0, layout.part_places).view(len(layout.positions), -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.layout.split_heads(gradient), None

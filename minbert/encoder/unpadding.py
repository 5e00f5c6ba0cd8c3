"""Layouts that leave the padding of a batch out of everything but attention.

Dimensions: B texts, T tokens of the longest, N tokens that are computed, H hidden size, A heads,
D = H / A. A position is the index of a token in the padded texts, flattened to (B · T,). A row is
the vector of a token that is computed; its number is an index into the N.

Linear layers, dropout, GELU and LayerNorm treat every token alone, so N rows without padding are
enough for them. Attention needs a padded text for each head.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Move = Callable[[Tensor], Tensor]
_MOST_TOKENS = 0.95  # share of tokens that are no padding, up to which the gathers pay


def choose_layout(
    attention_mask: Tensor,
    heads: int,
    token_count: int | None = None,
    computed: Tensor | None = None,
) -> Layout:
    """The faster layout for a mask (B, T) that is 1 at tokens.

    A CPU leaves padding out where there is enough of it to pay, and each text begins with a token;
    `token_count` is the number of tokens, if known. To count them the host would have to wait for a
    GPU. There padding is left out where `computed` (N,) has the positions to compute: all tokens,
    and maybe some padding. What it has is computed on any device.
    """
    mask = attention_mask.bool()
    key_mask = mask[:, None, None, :]
    if computed is not None:
        return UnpaddedLayout(key_mask, heads, computed)
    if attention_mask.device.type == "cpu":
        if token_count is None:
            token_count = int(attention_mask.count_nonzero())
        sparse = token_count <= _MOST_TOKENS * attention_mask.numel()
        if sparse and bool(mask[:, 0].all()):
            return UnpaddedParts.of(mask, heads)
    return PaddedLayout(key_mask, heads)


def texts_shape(layout: Layout) -> tuple[int, int]:
    """The number of texts and of tokens of the longest, (B, T)."""
    return layout.key_mask.size(0), layout.key_mask.size(-1)


@dataclass(frozen=True)
class Layout(ABC):
    """Which N rows the layers compute of the padded texts, and the ways between the two."""

    key_mask: Tensor  # (B, 1, 1, T), True at tokens and False at padding
    heads: int  # A

    @abstractmethod
    def flatten(self, texts: Tensor) -> Tensor:
        """Padded texts (B, T, H) to rows (N, H)."""

    @abstractmethod
    def unflatten(self, rows: Tensor) -> Tensor:
        """Rows (N, H) to padded texts (B, T, H), 0 where nothing was computed."""

    @abstractmethod
    def cls_rows(self, rows: Tensor) -> Tensor:
        """Rows (N, H) to those of [CLS], the first token of each text: (B, H)."""

    @abstractmethod
    def row_numbers(self, positions: Tensor) -> Tensor:
        """Positions (M,) of tokens, none of them padding, to the numbers of their rows (M,)."""

    def split_heads(self, rows: Tensor) -> Tensor:
        """Rows (N, H) to padded texts for each head, (B, A, T, D)."""
        return self.unflatten(rows).unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def join_heads(self, context: Tensor) -> Tensor:
        """Padded texts for each head, (B, A, T, D), to rows (N, H)."""
        return self.flatten(context.transpose(1, 2).flatten(2))


@dataclass(frozen=True)
class PaddedLayout(Layout):
    """N = B · T rows: padding is computed like any token, and masked as a key."""

    def flatten(self, texts: Tensor) -> Tensor:
        return texts.flatten(0, 1)

    def unflatten(self, rows: Tensor) -> Tensor:
        return rows.unflatten(0, texts_shape(self))

    def cls_rows(self, rows: Tensor) -> Tensor:
        # contiguous, as torch multiplies a strided matrix in another way where gradients are wanted
        return self.unflatten(rows)[:, 0].contiguous()

    def row_numbers(self, positions: Tensor) -> Tensor:
        return positions


@dataclass(frozen=True)
class UnpaddedLayout(Layout):
    """Rows of given positions, in any order: all tokens, and maybe some padding.

    Nothing in it makes the host wait for a GPU.
    """

    positions: Tensor  # (N,): the position of each row

    def flatten(self, texts: Tensor) -> Tensor:
        return _moved(texts, self._to_rows, self._to_texts)

    def unflatten(self, rows: Tensor) -> Tensor:
        return _moved(rows, self._to_texts, self._to_rows)

    def cls_rows(self, rows: Tensor) -> Tensor:
        count, length = texts_shape(self)
        starts = torch.arange(0, count * length, length, device=rows.device)
        return rows.index_select(0, self.row_numbers(starts))

    def row_numbers(self, positions: Tensor) -> Tensor:
        count, length = texts_shape(self)
        own = torch.arange(len(self.positions), device=positions.device)
        numbers = own.new_zeros(count * length).index_copy(0, self.positions, own)
        return numbers.index_select(0, positions)

    def _to_rows(self, texts: Tensor) -> Tensor:
        return texts.flatten(0, 1).index_select(0, self.positions)

    def _to_texts(self, rows: Tensor) -> Tensor:
        count, length = texts_shape(self)
        empty = rows.new_zeros(count * length, *rows.shape[1:])
        return empty.index_copy(0, self.positions, rows).unflatten(0, (count, length))


@dataclass(frozen=True)
class UnpaddedParts(UnpaddedLayout):
    """For a CPU: the rows of all tokens and no padding, whose heads are split by one copy.

    Splitting the heads copies the tokens in any case there, and the same copy puts the padding
    back. A part is what one head has of one row, (D,). Parts are numbered as they lie in the rows,
    and their places as they lie in the padded heads.
    """

    cls_numbers: Tensor  # (B,): the row of each text's [CLS]
    part_places: Tensor  # (N · A,): the place of each part
    part_numbers: Tensor  # (B · A · T,): the part at each place; N · A at padding

    @classmethod
    def of(cls, mask: Tensor, heads: int) -> UnpaddedParts:
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

    def cls_rows(self, rows: Tensor) -> Tensor:
        return rows.index_select(0, self.cls_numbers)

    def split_heads(self, rows: Tensor) -> Tensor:
        return _moved(rows, self._split, self._join)

    def join_heads(self, context: Tensor) -> Tensor:
        return _moved(context, self._join, self._split)

    def _split(self, rows: Tensor) -> Tensor:
        parts = rows.reshape(len(self.part_places), -1)  # (N · A, D)
        parts = torch.cat([parts, parts.new_zeros(1, parts.size(1))])
        count, length = texts_shape(self)
        return parts.index_select(0, self.part_numbers).unflatten(0, (count, self.heads, length))

    def _join(self, context: Tensor) -> Tensor:
        parts = context.reshape(len(self.part_numbers), -1)  # (B · A · T, D)
        return parts.index_select(0, self.part_places).view(len(self.positions), -1)


class _Move(torch.autograd.Function):
    """A move of tokens to other places; its gradient is the move back.

    No token is moved twice. Torch's own gradient would add up token by token, as if one could be.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Move, back: Move) -> Tensor:
        ctx.there, ctx.back = there, back
        return there(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _moved(gradient, ctx.back, ctx.there), None, None


def _moved(x: Tensor, there: Move, back: Move) -> Tensor:
    """Return `there(x)`, with a gradient that goes `back`."""
    return _Move.apply(x, there, back)

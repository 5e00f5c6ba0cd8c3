"""Where the tokens of a batch stand, so that the encoder's layers can leave the padding out.

Dimensions: B texts, T tokens of the longest, N tokens that are computed, H hidden size, A heads,
D = H / A.

Everything but attention treats tokens one by one, so that N vectors in a row do. Attention wants
each text apart and each head apart; laying them out so is one gather, which it would need for the
heads alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

_WORTH_IT = 0.95  # share of tokens that are no padding, up to which the gathers pay


class Layout(Protocol):
    """Between texts in rows of their own, (B, T, ...), and tokens in one row, (N, ...)."""

    @property
    def key_mask(self) -> Tensor:
        """(B, 1, 1, T), True at real tokens."""
        ...

    def flat(self, rows: Tensor) -> Tensor:
        """(B, T, H) to (N, H)."""
        ...

    def rows(self, tokens: Tensor) -> Tensor:
        """(N, H) to (B, T, H); 0 where nothing was computed."""
        ...

    def firsts(self, tokens: Tensor) -> Tensor:
        """(N, H) to each text's first token, [CLS]: (B, H)."""
        ...

    def at(self, tokens: Tensor, places: Tensor) -> Tensor:
        """(N, H) to (M, H), those at `places` (M,) in B · T, none of them padding."""
        ...

    def split_heads(self, tokens: Tensor) -> Tensor:
        """(N, H) to (B, A, T, D)."""
        ...

    def join_heads(self, context: Tensor) -> Tensor:
        """(B, A, T, D) to (N, H)."""
        ...


def layout_of(attention_mask: Tensor, heads: int, real: int | None = None) -> Layout:
    """The layout for a mask (B, T) that is 1 at tokens, `real` of them if that is known.

    On a CPU padding is left out where there is enough of it to pay. On a GPU it is computed, as it
    is where a text does not begin with a token.
    """
    if attention_mask.device.type == "cpu":
        if real is None:
            real = int(attention_mask.count_nonzero())
        if real <= _WORTH_IT * attention_mask.numel() and bool(attention_mask[:, 0].all()):
            return Ragged.of(attention_mask.bool(), heads)
    return Full(attention_mask.bool()[:, None, None, :], heads)


@dataclass(frozen=True)
class Full:
    """N = B · T: padding is computed like any token, and masked as a key."""

    key_mask: Tensor
    heads: int

    @property
    def _shape(self) -> tuple[int, int]:
        return self.key_mask.size(0), self.key_mask.size(-1)

    def flat(self, rows: Tensor) -> Tensor:
        """See `Layout`."""
        return rows.flatten(0, 1)

    def rows(self, tokens: Tensor) -> Tensor:
        """See `Layout`."""
        return tokens.unflatten(0, self._shape)

    def firsts(self, tokens: Tensor) -> Tensor:
        """See `Layout`. Contiguous: else a product of it is done otherwise with gradients on."""
        return self.rows(tokens)[:, 0].contiguous()

    def at(self, tokens: Tensor, places: Tensor) -> Tensor:
        """See `Layout`."""
        return tokens.index_select(0, places)

    def split_heads(self, tokens: Tensor) -> Tensor:
        """See `Layout`."""
        return self.rows(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def join_heads(self, context: Tensor) -> Tensor:
        """See `Layout`."""
        return context.transpose(1, 2).flatten(2).flatten(0, 1)


@dataclass(frozen=True)
class Ragged:
    """N real tokens; padding exists in attention alone."""

    key_mask: Tensor
    heads: int
    places: Tensor  # (N,): each token's in B · T
    starts: Tensor  # (B,): each text's first token's in N
    head_places: Tensor  # (N · A,): the place in B · A · T of each token's part for each head
    head_sources: Tensor  # (B · A · T,): the reverse; padding has N · A

    @classmethod
    def of(cls, mask: Tensor, heads: int) -> Ragged:
        """`mask` (B, T) is True at tokens, among them every text's first."""
        (count, length), device = mask.shape, mask.device
        places = mask.flatten().nonzero().squeeze(1)
        lengths = mask.sum(dim=1)
        starts = lengths.cumsum(0) - lengths
        text, position = places // length, places % length
        head = torch.arange(heads, device=device)
        head_places = ((text[:, None] * heads + head) * length + position[:, None]).flatten()
        parts = len(head_places)
        head_sources = torch.full((count * heads * length,), parts, device=device)
        head_sources[head_places] = torch.arange(parts, device=device)
        return cls(mask[:, None, None, :], heads, places, starts, head_places, head_sources)

    def flat(self, rows: Tensor) -> Tensor:
        """See `Layout`."""
        taken: Tensor = _Taken.apply(rows.flatten(0, 1), self.places)
        return taken

    def rows(self, tokens: Tensor) -> Tensor:
        """See `Layout`."""
        count, length = self.key_mask.size(0), self.key_mask.size(-1)
        empty = tokens.new_zeros(count * length, *tokens.shape[1:])
        return empty.index_copy(0, self.places, tokens).unflatten(0, (count, length))

    def firsts(self, tokens: Tensor) -> Tensor:
        """See `Layout`."""
        return tokens.index_select(0, self.starts)

    def at(self, tokens: Tensor, places: Tensor) -> Tensor:
        """See `Layout`."""
        return tokens.index_select(0, torch.searchsorted(self.places, places))

    def split_heads(self, tokens: Tensor) -> Tensor:
        """See `Layout`. At padding stands 0."""
        split: Tensor = _SplitHeads.apply(tokens, self)
        return split

    def join_heads(self, context: Tensor) -> Tensor:
        """See `Layout`."""
        joined: Tensor = _JoinHeads.apply(context, self)
        return joined


# Torch's own gradients of these gathers add row by row, as if a row could be taken twice. Here all
# rows taken are different ones, so that the gradient is the opposite gather.


class _Taken(torch.autograd.Function):
    """Rows (M, H) to those at `places`, all different."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor) -> Tensor:
        ctx.places, ctx.count = places, len(rows)
        return rows.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        empty = gradient.new_zeros(ctx.count, *gradient.shape[1:])
        return empty.index_copy(0, ctx.places, gradient), None


class _SplitHeads(torch.autograd.Function):
    """(N, H) to (B, A, T, D), 0 at padding."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, layout: Ragged) -> Tensor:
        ctx.layout = layout
        parts = tokens.reshape(len(layout.head_places), -1)  # (N · A, D)
        parts = torch.cat([parts, parts.new_zeros(1, parts.size(1))])
        shape = (layout.key_mask.size(0), layout.heads, layout.key_mask.size(-1))
        return parts.index_select(0, layout.head_sources).unflatten(0, shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.layout.join_heads(gradient), None


class _JoinHeads(torch.autograd.Function):
    """(B, A, T, D) to (N, H)."""

    @staticmethod
    def forward(ctx: Any, context: Tensor, layout: Ragged) -> Tensor:
        ctx.layout = layout
        parts = context.reshape(len(layout.head_sources), -1)  # (B · A · T, D)
        return parts.index_select(0, layout.head_places).view(len(layout.places), -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.layout.split_heads(gradient), None

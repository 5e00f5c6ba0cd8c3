"""Which tokens the last layer computes: all of them, [CLS] alone, or [CLS] and chosen tokens.

Dimensions: B texts, T tokens of the longest, N tokens in all, S tokens selected, H hidden size,
A heads, D = H / A.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from minbert.encoder.unpadding import Layout, Move, texts_shape


@dataclass(frozen=True)
class TokenSelection:
    """The S tokens that a layer computes of the N in `layout`; all N give a key and a value."""

    layout: Layout
    querying: Move  # tokens (N, H) to those that need a query
    split_heads: Move  # their queries to (B, A, T or 1, D)
    join_heads: Move  # what attention returns, (B, A, T or 1, D), to the selected tokens (S, H)
    take: Move  # tokens (N, H) to the selected ones (S, H)
    cls: Move  # selected tokens (S, H) to [CLS] of each text (B, H)
    last_hidden_state: Move  # selected tokens (S, H) to what `BertModel.encode` returns


Select = Callable[[Layout], TokenSelection]


def every_token(layout: Layout) -> TokenSelection:
    """Select all tokens; `last_hidden_state` is (B, T, H)."""
    return TokenSelection(
        layout,
        querying=_all,
        split_heads=layout.split_heads,
        join_heads=layout.join_heads,
        take=_all,
        cls=layout.cls_rows,
        last_hidden_state=layout.unflatten,
    )


def cls_token(layout: Layout) -> TokenSelection:
    """Select [CLS] of each text, a sixth of the layer's work; `last_hidden_state` is (B, 1, H)."""
    return TokenSelection(
        layout,
        querying=layout.cls_rows,
        split_heads=lambda query: query.unflatten(-1, (layout.heads, 1, -1)),
        join_heads=lambda context: context.flatten(1),
        take=layout.cls_rows,
        cls=_all,
        last_hidden_state=lambda selected: selected[:, None],
    )


def cls_and_tokens_at(positions: Tensor) -> Select:
    """Select [CLS] of each text and M other tokens; `last_hidden_state` is (M, H).

    `positions` (M,) index the padded texts, flattened to (B · T,); none of them may be padding.
    Attention is computed for all tokens, and the rest of the layer for the selected ones.
    """

    def select(layout: Layout) -> TokenSelection:
        count, length = texts_shape(layout)
        starts = torch.arange(0, count * length, length, device=positions.device)
        rows = layout.row_numbers(torch.cat([starts, positions]))
        return replace(
            every_token(layout),
            join_heads=lambda context: layout.join_heads(context).index_select(0, rows),
            take=lambda hidden: hidden.index_select(0, rows),
            cls=lambda selected: selected[:count],
            last_hidden_state=lambda selected: selected[count:],
        )

    return select


def _all(tokens: Tensor) -> Tensor:
    return tokens

"""Multi-head self-attention (Vaswani et al. 2017, section 3.2).

Dimensions: B texts, T tokens of the longest, N tokens in all, H hidden size, A heads, D = H / A.

`reference_attention` is the dozen lines to read. `fused_attention` computes the same, in torch's
kernel where that pays. They share one signature; one is chosen when the model is built.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert.encoder.dropout import dropout as drop
from minbert.encoder.unpadding import Layout

_SHORT = 32  # tokens: up to there the readable lines are faster, if no gradient is wanted

AttentionFunction = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]


def reference_attention(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor, dropout: float
) -> Tensor:
    """softmax(Q Kᵀ / √D) V over the keys that are real tokens.

    `query`, `key`, `value`: (B, A, T, D). `key_mask`: (B, 1, 1, T), True at real tokens.
    `dropout`: rate on the attention weights; 0 outside training. Returns (B, A, T, D).
    """
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.size(-1))  # (B, A, T, T)
    scores = scores.masked_fill(~key_mask, torch.finfo(scores.dtype).min)
    weights = drop(scores.softmax(dim=-1), dropout)
    return weights @ value  # (B, A, T, D)


def fused_attention(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor, dropout: float
) -> Tensor:
    """The same function, by torch's scaled-dot-product kernel where that is the faster one.

    On a CPU it is not with dropout, for which it has no fused form, nor in bf16, where its backward
    pass is slow, nor for short texts in scoring (docs/performance.md).
    """
    if query.device.type == "cpu":
        short = torch.is_inference_mode_enabled() and key.size(-2) <= _SHORT
        if dropout > 0 or query.dtype == torch.bfloat16 or short:
            return reference_attention(query, key, value, key_mask, dropout)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=key_mask, dropout_p=dropout)


ATTENTION: dict[str, AttentionFunction] = {
    "fused": fused_attention,
    "reference": reference_attention,
}


class SelfAttention(nn.Module):
    """Queries, keys and values from the same tokens, A heads side by side, mixed by `output`."""

    def __init__(
        self, hidden_size: int, num_heads: int, dropout: float, attend: AttentionFunction
    ) -> None:
        super().__init__()
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)
        self.num_heads, self.dropout, self.attend = num_heads, dropout, attend

    def forward(
        self,
        hidden: Tensor,
        layout: Layout,
        first_only: bool = False,
        places: Tensor | None = None,
    ) -> Tensor:
        """Tokens (N, H), as `layout` has them, to (N, H), or to some of them.

        These are the first of each text, (B, H), or those at `places`, as `Layout.at` has it.
        """
        key, value = (layout.split_heads(project(hidden)) for project in (self.key, self.value))
        if first_only:
            query = self.query(layout.firsts(hidden)).unflatten(-1, (self.num_heads, 1, -1))
        else:
            query = layout.split_heads(self.query(hidden))
        dropout = self.dropout if self.training else 0.0
        context = self.attend(query, key, value, layout.key_mask, dropout)  # (B, A, T or 1, D)
        if first_only:
            return self.output(context.flatten(1))
        joined = layout.join_heads(context)
        return self.output(joined if places is None else layout.at(joined, places))

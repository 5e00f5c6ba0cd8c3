"""Multi-head self-attention (Vaswani et al. 2017, section 3.2).

Dimensions: B texts, T tokens of the longest, N tokens in all, S tokens selected, H hidden size,
A heads, D = H / A.

`reference_attention` is the dozen lines to read. The other functions compute the same, by torch's
kernel where that is faster.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert.encoder.dropout import dropout as drop
from minbert.encoder.selection import TokenSelection

_SHORT = 32  # tokens, up to which the reference is faster where no gradient is wanted

AttentionFunction = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]


def reference_attention(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor, dropout: float
) -> Tensor:
    """softmax(Q Kᵀ / √D) V over the keys that are real tokens.

    `query`, `key`, `value`: (B, A, T, D). `key_mask`: (B, 1, 1, T), True at real tokens.
    `dropout`: rate on the attention weights; 0 outside training. Returns (B, A, T, D).
    """
    weights = drop(attention_weights(query, key, key_mask), dropout)
    return weights @ value  # (B, A, T, D)


def attention_weights(query: Tensor, key: Tensor, key_mask: Tensor) -> Tensor:
    """softmax(Q Kᵀ / √D): how much each token attends to each, (B, A, T, T)."""
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.size(-1))  # (B, A, T, T)
    scores = scores.masked_fill(~key_mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1)


def fused_attention(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor, dropout: float
) -> Tensor:
    """Attention by torch's scaled-dot-product kernel, where it is faster than the reference.

    On a CPU it is slower with dropout, for which it has no fused form, and in bf16, where its
    backward pass is slow (docs/performance.md).
    """
    if query.device.type == "cpu" and (dropout > 0 or query.dtype == torch.bfloat16):
        return reference_attention(query, key, value, key_mask, dropout)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=key_mask, dropout_p=dropout)


def scoring_attention(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor, dropout: float
) -> Tensor:
    """Attention for passes without gradients: on a CPU, short texts go by the reference."""
    short = query.device.type == "cpu" and key.size(-2) <= _SHORT
    attend = reference_attention if short else fused_attention
    return attend(query, key, value, key_mask, dropout)


class AttentionChoice(NamedTuple):
    """The function for any pass, and the one for passes that score and want no gradient."""

    default: AttentionFunction
    scoring: AttentionFunction


ATTENTION = {
    "fused": AttentionChoice(fused_attention, scoring_attention),
    "reference": AttentionChoice(reference_attention, reference_attention),
}


class SelfAttention(nn.Module):
    """Multi-head attention of a text's tokens to each other; `output` mixes the heads."""

    def __init__(self, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)
        self.dropout = dropout

    def forward(
        self, hidden: Tensor, selection: TokenSelection, attend: AttentionFunction
    ) -> Tensor:
        """Tokens x (N, H) to the selected ones (S, H): output(heads of attend(Q, K, V), joined).

        Q (B, A, T or 1, D), K and V (B, A, T, D) are linear in x, split into heads.
        """
        layout, dropout = selection.layout, self.dropout if self.training else 0.0
        key = layout.split_heads(self.key(hidden))  # (B, A, T, D)
        value = layout.split_heads(self.value(hidden))
        query = self.query(selection.querying(hidden))
        query = selection.split_heads(query)  # (B, A, T or 1, D)
        context = attend(query, key, value, layout.key_mask, dropout)  # (B, A, T or 1, D)
        return self.output(selection.join_heads(context))

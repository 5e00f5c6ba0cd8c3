"""What turns pooled vectors into logits: one head a task.

A head takes the pooled vectors of a batch, (V, B, H): V = 1 for a single text or a pair encoded
together, V = 2 for the two texts of a pair. It returns logits (B, k).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert.support.device import at_least_fp32


def cosine(u: Tensor, v: Tensor, eps: float = 1e-8) -> Tensor:
    """⟨u, v⟩ / (‖u‖ ‖v‖), each norm at least `eps`: (..., H) twice to (...), in fp32 or better.

    It is finite, with a finite gradient, for zero vectors too.
    """
    return F.cosine_similarity(at_least_fp32(u), at_least_fp32(v), dim=-1, eps=eps)


class VectorHead(nn.Module):
    """Linear over the one vector: a single text, or a pair encoded together."""

    def __init__(self, hidden_size: int, num_outputs: int, center: float = 0.0) -> None:
        """`output` is the linear layer, (B, H) to (B, k).

        `center` is where its bias starts: the middle of the scale for a regression.
        """
        super().__init__()
        self.output = nn.Linear(hidden_size, num_outputs)
        nn.init.constant_(self.output.bias, center)

    def forward(self, pooled: Tensor) -> Tensor:
        """(1, B, H) to (B, k)."""
        return self.output(pooled[0])


class SquashedHead(nn.Module):
    """top · σ(linear), so that no output leaves the range 0..top of a regression's labels."""

    def __init__(self, hidden_size: int, top: float) -> None:
        super().__init__()
        self.linear, self.top = VectorHead(hidden_size, 1), top

    def forward(self, pooled: Tensor) -> Tensor:
        """(1, B, H) to (B, 1)."""
        return self.top * self.linear(pooled).sigmoid()


class DifferenceHead(nn.Module):
    """Linear over [u, v, |u - v|] (Reimers & Gurevych 2019, section 3)."""

    def __init__(self, hidden_size: int, num_outputs: int) -> None:
        """`output` is the linear layer, (B, 3 H) to (B, k)."""
        super().__init__()
        self.output = nn.Linear(3 * hidden_size, num_outputs)

    def forward(self, pooled: Tensor) -> Tensor:
        """(2, B, H) to (B, k)."""
        u, v = pooled
        return self.output(torch.cat([u, v, (u - v).abs()], dim=-1))


class CosineHead(nn.Module):
    """scale · cos(u, v), a head without weights; `scale` is the top of the label's range."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, pooled: Tensor) -> Tensor:
        """(2, B, H) to (B, 1)."""
        u, v = pooled
        return self.scale * cosine(u, v).unsqueeze(-1)


class RelationalLayer(nn.Module):
    """One Linear and LeakyReLU that the pair tasks share, over what relates u to v.

    Features [u, v, |u - v|, u ⊙ v / (‖u‖‖v‖ + eps)], or the one vector of a pair encoded together.
    `dropout` is a rate on the features, and on what follows the LeakyReLU.
    """

    def __init__(
        self, hidden_size: int, views: int, dropout: float = 0.0, eps: float = 1e-8
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(hidden_size * (4 if views == 2 else 1), hidden_size)
        self.eps = eps

    def forward(self, pooled: Tensor) -> Tensor:
        """(V, B, H) to (1, B, H), so that a VectorHead can follow."""
        hidden = F.leaky_relu(self.dense(self.dropout(self._features(pooled))))
        return self.dropout(hidden).unsqueeze(0)

    def _features(self, pooled: Tensor) -> Tensor:
        """(V, B, H) to (B, 4 H) for two vectors, (B, H) for one."""
        if len(pooled) == 1:
            return pooled[0]
        u, v = at_least_fp32(pooled)
        norms = u.norm(dim=-1, keepdim=True) * v.norm(dim=-1, keepdim=True)
        return torch.cat([u, v, (u - v).abs(), u * v / (norms + self.eps)], dim=-1)

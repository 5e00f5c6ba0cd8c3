"""How vectors lie in their space, and how far they moved: what might stand for collapse.

Dimensions: n texts, d features. Everything is computed in float64.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def spectrum(features: NDArray[np.floating]) -> Array:
    """The singular values (min(n, d),) of the centred features (n, d), the largest first."""
    return np.asarray(np.linalg.svd(_centred(features), compute_uv=False), dtype=np.float64)


def effective_rank(values: Array) -> float:
    """Exp of the entropy of the normalised singular values (Roy & Vetterli 2007, definition 1).

    It is r where r directions have equal spread and the others none, and 0 without any spread.
    """
    if values.sum() == 0:
        return 0.0
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def anisotropy(values: Array) -> float:
    """The share of the variance that lies in one direction, σ₁² / Σσ² (Razzhigaev et al. 2024).

    `values` are the singular values. It is 1/d where all directions are alike, 1 where there is
    one, and 0 without any spread.
    """
    squares = values**2
    return float(squares[0] / squares.sum()) if squares.sum() > 0 else 0.0


def mean_cosine(features: NDArray[np.floating]) -> float:
    """The mean cosine of two different texts' vectors, not centred (Ethayarajh 2019, section 3.2).

    Raises ValueError for fewer than two texts. A vector of zeros has cosine 0 with every other.
    """
    vectors = features.astype(np.float64)
    count = len(vectors)
    if count < 2:
        raise ValueError(f"{count} vectors make no pair")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    with_itself = float((units**2).sum())
    return (float((units.sum(axis=0) ** 2).sum()) - with_itself) / (count * (count - 1))


def linear_cka(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Centred kernel alignment of two encoders' features (n, d₁), (n, d₂) of the same texts.

    ‖Yᵀ X‖² / (‖Xᵀ X‖ ‖Yᵀ Y‖) in Frobenius norms (Kornblith et al. 2019, section 2): 1 where they
    are the same but for rotation, shift and scale, 0 where nothing in one is linear in the other.
    """
    x, y = _centred(first), _centred(second)
    alike = np.linalg.norm(y.T @ x) ** 2
    own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(alike / own) if own > 0 else 0.0


def _centred(features: NDArray[np.floating]) -> Array:
    vectors: Array = features.astype(np.float64)
    return vectors - vectors.mean(axis=0)

"""Linear probes: the best linear map from frozen features to labels, found to convergence.

Dimensions: n examples, d features, k classes. A probe has a matrix (d, k) and a bias (k,), and the
loss is a mean over examples plus strength / 2 · ‖matrix‖². As the bias is free and the features are
centred and divided by one number, neither a shift nor a rotation of the features changes a probe's
answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, special

Array = NDArray[np.float64]
GRADIENT = 1e-9  # the largest entry of the loss's gradient at which a solution counts as found
_STEPS = 20_000  # of L-BFGS at most
_MEMORY = 30  # pairs that L-BFGS remembers


@dataclass(frozen=True)
class Scale:
    """Features minus their mean (d,), over the root mean square of what is left, one number."""

    mean: Array
    size: float

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> Scale:
        """The scale of training features (n, d)."""
        vectors = features.astype(np.float64)
        mean = vectors.mean(axis=0)
        size = float(np.sqrt(((vectors - mean) ** 2).mean()))
        return cls(mean, size if size > 0 else 1.0)

    def __call__(self, features: NDArray[np.floating]) -> Array:
        """Features on this scale, (n, d)."""
        return (features.astype(np.float64) - self.mean) / self.size


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe. `loss` is what was minimised, `gradient` its gradient's largest entry."""

    matrix: Array
    bias: Array
    loss: float
    gradient: float

    def scores(self, features: Array) -> Array:
        """Features (n, d) to class scores, or to a regression's prediction, (n, k)."""
        return features @ self.matrix + self.bias


def fit_logistic(
    features: Array,
    labels: NDArray[Any],
    classes: int,
    strength: float,
    start: LinearProbe | None = None,
) -> LinearProbe:
    """Multinomial logistic regression by L-BFGS; `start` is a probe from which to begin.

    `labels` (n,) are 0 to `classes` - 1. Raises ValueError for a label outside, and for a strength
    of 0 or below, at which separable classes have no best probe.
    """
    if strength <= 0:
        raise ValueError(f"strength is {strength}, must be above 0")
    rows, width = features.shape
    targets = np.zeros((rows, classes))
    targets[np.arange(rows), _checked(labels, classes)] = 1.0

    def objective(flat: Array) -> tuple[float, Array]:
        matrix, bias = flat[: width * classes].reshape(width, classes), flat[width * classes :]
        logs = special.log_softmax(features @ matrix + bias, axis=1)
        loss = -(targets * logs).sum() / rows + strength / 2 * (matrix**2).sum()
        difference = (np.exp(logs) - targets) / rows  # (n, k)
        gradient = features.T @ difference + strength * matrix
        return float(loss), np.concatenate([gradient.ravel(), difference.sum(axis=0)])

    begin = np.zeros((width + 1) * classes)
    if start is not None:
        begin = np.concatenate([start.matrix.ravel(), start.bias])
    flat = _minimum(objective, begin)
    loss, gradient = objective(flat)
    matrix, bias = flat[: width * classes].reshape(width, classes), flat[width * classes :]
    return LinearProbe(matrix, bias, loss, float(np.abs(gradient).max()))


def fit_ridge(features: Array, targets: NDArray[Any], strength: float) -> LinearProbe:
    """Ridge regression by its normal equations, half the mean squared error as the loss.

    `targets` are (n,). Raises ValueError for a strength of 0 or below.
    """
    if strength <= 0:
        raise ValueError(f"strength is {strength}, must be above 0")
    rows, width = features.shape
    middle = features.mean(axis=0)
    centred, wanted = features - middle, targets.astype(np.float64)
    bias = wanted.mean()
    products = centred.T @ centred / rows + strength * np.eye(width)
    matrix = linalg.solve(products, centred.T @ (wanted - bias) / rows, assume_a="pos")
    missed = centred @ matrix + bias - wanted
    loss = float((missed**2).mean() / 2 + strength / 2 * (matrix**2).sum())
    gradient = float(np.abs(centred.T @ missed / rows + strength * matrix).max())
    return LinearProbe(matrix[:, None], np.array([bias - middle @ matrix]), loss, gradient)


def _checked(labels: NDArray[Any], classes: int) -> NDArray[np.int64]:
    numbers = labels.astype(np.int64)
    if (numbers != labels).any() or numbers.min() < 0 or numbers.max() >= classes:
        raise ValueError(f"labels are not all among 0..{classes - 1}")
    return numbers


def _minimum(objective: Callable[[Array], tuple[float, Array]], begin: Array) -> Array:
    """The minimum of a smooth convex function; L-BFGS is begun anew where its memory misleads it.

    Near the minimum the loss has no digits left to tell two points apart, and the line search
    gives up. From there the gradient alone is followed, by Newton's method with products of the
    Hessian taken from differences of gradients.
    """
    options = {"maxiter": _STEPS, "maxfun": 2 * _STEPS, "maxcor": _MEMORY, "ftol": 0.0}
    options["gtol"] = GRADIENT
    flat = begin
    for _ in range(5):
        flat = optimize.minimize(objective, flat, jac=True, method="L-BFGS-B", options=options).x
        if np.abs(objective(flat)[1]).max() <= GRADIENT:
            return flat
    return _newton(objective, flat)


def _newton(objective: Callable[[Array], tuple[float, Array]], flat: Array) -> Array:
    from scipy.sparse.linalg import LinearOperator, cg

    for _ in range(20):
        gradient = objective(flat)[1]
        if np.abs(gradient).max() <= GRADIENT:
            break

        def product(direction: Array, at: Array = flat) -> Array:
            length = np.linalg.norm(direction)
            if length == 0:
                return direction
            step = 1e-5 / length * max(1.0, float(np.linalg.norm(at)))
            ahead, behind = (objective(at + sign * step * direction)[1] for sign in (1, -1))
            return (ahead - behind) / (2 * step)

        hessian = LinearOperator((len(flat), len(flat)), matvec=product, dtype=np.float64)
        move, _ = cg(hessian, -gradient, rtol=1e-6, maxiter=500)
        flat = flat + move
    return flat

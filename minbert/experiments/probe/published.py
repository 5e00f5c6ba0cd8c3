"""Probes as the R3F paper trains them: Adam for the updates of its Table 5, from zero weights.

Dimensions: n examples, d features, k outputs, B examples of an update.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import special

from minbert.experiments.probe.solvers import Array, LinearProbe
from minbert.experiments.r3f_settings import Published
from minbert.training.optimizer import rate_schedule

_BETAS, _EPSILON = (0.9, 0.98), 1e-6  # Table 6, as the warm-up and the weight decay
_WARMUP, _DECAY = 0.06, 0.01


def fit_adam(
    features: Array, labels: NDArray[np.float64], classes: int, training: Published, seed: int
) -> LinearProbe:
    """A probe of `classes` by cross-entropy, or by squared error where `classes` is 0.

    Batches come from shuffles laid end to end. The rate rises over the warm-up and then falls
    linearly to 0, and weights, not biases, decay beside the gradient (Loshchilov & Hutter 2019).
    """
    draw = np.random.default_rng(seed)
    count, width = features.shape
    weights = np.zeros((width + 1, max(classes, 1)))  # the last row is the bias
    moments = np.zeros((2, *weights.shape))
    inputs = np.concatenate([features, np.ones((count, 1))], axis=1)
    order = draw.permutation(count)
    decayed = np.ones((width + 1, 1))
    decayed[-1] = 0.0
    factor = rate_schedule("linear", training.updates, _WARMUP)
    for update in range(training.updates):
        while len(order) < training.batch_size:
            order = np.concatenate([order, draw.permutation(count)])
        rows, order = order[: training.batch_size], order[training.batch_size :]
        gradient = inputs[rows].T @ _difference(inputs[rows] @ weights, labels[rows], classes)
        rate = training.lr * factor(update)
        weights = weights * (1 - rate * _DECAY * decayed) - _step(moments, gradient, update, rate)
    loss, slope = _loss(inputs, labels, weights, classes)
    return LinearProbe(weights[:-1], weights[-1], loss, slope)


def _difference(scores: Array, labels: NDArray[np.float64], classes: int) -> Array:
    """The loss's gradient at the scores (B, k), a mean over examples."""
    if not classes:
        return (scores - labels[:, None]) / len(labels)
    chances: Array = special.softmax(scores, axis=1)
    chances[np.arange(len(labels)), labels.astype(np.int64)] -= 1.0
    return chances / len(labels)


def _step(moments: Array, gradient: Array, update: int, rate: float) -> Array:
    """Adam's step, bias-corrected; `moments` (2, d + 1, k) are brought up to date."""
    for moment, beta, value in zip(moments, _BETAS, (gradient, gradient**2), strict=True):
        moment *= beta
        moment += (1 - beta) * value
    first, second = (m / (1 - b ** (update + 1)) for m, b in zip(moments, _BETAS, strict=True))
    return np.asarray(rate * first / (np.sqrt(second) + _EPSILON))


def _loss(
    inputs: Array, labels: NDArray[np.float64], weights: Array, classes: int
) -> tuple[float, float]:
    """The mean loss over all examples, and its gradient's largest entry."""
    scores = inputs @ weights
    slope = float(np.abs(inputs.T @ _difference(scores, labels, classes)).max())
    if not classes:
        return float(((scores[:, 0] - labels) ** 2).mean() / 2), slope
    logs = special.log_softmax(scores, axis=1)
    return float(-logs[np.arange(len(labels)), labels.astype(np.int64)].mean()), slope

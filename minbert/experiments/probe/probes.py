"""Probes of one encoder's features: a linear map a task, scored on the task's dev rows.

Dimensions: n examples, V texts of an example, H hidden size, d features, k classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minbert.experiments.probe.published import fit_adam
from minbert.experiments.probe.solvers import (
    Array,
    LinearProbe,
    Scale,
    fit_logistic,
    fit_ridge,
)
from minbert.experiments.r3f_settings import published
from minbert.tasks.task import Task

CONVERGED, PUBLISHED = "converged", "published"
STRENGTHS = (100.0, 10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4)  # the next begins from the one before
_HELD_OUT = 0.2  # of the training rows, by which the strength is chosen
_SEED = 11711  # of the held-out rows and of published batches, for every encoder alike


@dataclass(frozen=True)
class Rows:
    """The labelled examples of a split: features (n, d) and labels (n,)."""

    features: NDArray[np.floating]
    labels: NDArray[np.float64]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], task: str, split: str, name: str) -> Rows:
        """A task's rows from a step's arrays, by one of its inputs."""
        key = f"{task} {split}"
        labels, texts = arrays[f"{key} labels"], arrays[f"{key} {name}"]
        known = ~np.isnan(labels)
        return cls(joined(texts[arrays[f"{key} rows"][known]]), labels[known])

    def at(self, places: NDArray[np.int64]) -> Rows:
        """The examples at these places."""
        return Rows(self.features[places], self.labels[places])


@dataclass(frozen=True)
class Probed:
    """A probe's dev score with all that made it; `predictions` (n,) are of the labelled rows."""

    score: float
    strength: float | None
    loss: float
    gradient: float
    train_rows: int
    predictions: NDArray[Any]
    labels: NDArray[np.float64]

    @property
    def record(self) -> dict[str, Any]:
        """What a result keeps in JSON."""
        left_out = ("predictions", "labels")
        kept = {name: value for name, value in vars(self).items() if name not in left_out}
        return {**kept, "dev_rows": len(self.labels)}


def joined(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Vectors (n, V, H) as features: one text's own, a pair's [u, v, |u − v|, u ⊙ v]."""
    if vectors.shape[1] == 1:
        return vectors[:, 0]
    u, v = vectors[:, 0], vectors[:, 1]
    return np.concatenate([u, v, np.abs(u - v), u * v], axis=1)


def probe(task: Task, train: Rows, dev: Rows, solver: str, updates: float = 1.0) -> Probed:
    """Fit a probe on the training rows and score it on dev.

    `converged` centres the features and divides them by one number, chooses the strength on a split
    of the training rows and fits all of them. `published` takes the features as they are, and
    `updates` is the share of Table 5's that it makes.
    """
    if solver == PUBLISHED:
        classes = 0 if task.is_correlation else len(task.classes)
        training = published(task.name).share(updates)
        features = train.features.astype(np.float64)
        fitted = fit_adam(features, train.labels, classes, training, _SEED)
        return _scored(task, fitted, dev.features.astype(np.float64), dev, len(train.labels), None)
    scale = Scale.of(train.features)
    inputs = scale(train.features)
    strength = _strength(task, inputs, train.labels)
    fitted = _fit(task, inputs, train.labels, strength)
    return _scored(task, fitted, scale(dev.features), dev, len(train.labels), strength)


def _scored(
    task: Task, fitted: LinearProbe, inputs: Array, dev: Rows, rows: int, strength: float | None
) -> Probed:
    guesses = _answers(task, fitted, inputs)
    score = task.metric(guesses, dev.labels)
    loss, gradient = fitted.loss, fitted.gradient
    return Probed(score, strength, loss, gradient, rows, guesses, dev.labels)


def _answers(task: Task, fitted: LinearProbe, inputs: Array) -> NDArray[Any]:
    scores = fitted.scores(inputs)
    return scores[:, 0] if task.is_correlation else scores.argmax(axis=1).astype(np.float64)


def _fit(
    task: Task,
    inputs: Array,
    labels: NDArray[np.float64],
    strength: float,
    start: LinearProbe | None = None,
) -> LinearProbe:
    if task.is_correlation:
        return fit_ridge(inputs, labels, strength)
    return fit_logistic(inputs, labels, len(task.classes), strength, start)


def _strength(task: Task, inputs: Array, labels: NDArray[np.float64]) -> float:
    """The strength with the best score on the held-out training rows; the strongest of equals."""
    order = np.random.default_rng(_SEED).permutation(len(labels))
    held = max(1, round(_HELD_OUT * len(labels)))
    outside, inside = order[:held], order[held:]
    best, chosen, fitted = -np.inf, STRENGTHS[0], None
    for strength in STRENGTHS:
        fitted = _fit(task, inputs[inside], labels[inside], strength, fitted)
        score = task.metric(_answers(task, fitted, inputs[outside]), labels[outside])
        if score > best:
            best, chosen = score, strength
    return chosen

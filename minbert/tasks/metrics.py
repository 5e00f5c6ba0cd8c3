"""Scores on a dev set: accuracy and Pearson's r."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def accuracy(predictions: NDArray[np.generic], labels: NDArray[np.generic]) -> float:
    """Share of predictions that equal their label."""
    return float(np.mean(predictions == labels))


def pearson(predictions: NDArray[np.generic], labels: NDArray[np.generic]) -> float:
    """Pearson's r; 0 where it is undefined (a constant on either side, fewer than two pairs)."""
    if len(labels) < 2 or np.ptp(predictions) == 0 or np.ptp(labels) == 0:
        return 0.0
    # float64: near-constant float32 predictions lose their variance to rounding
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        r = stats.pearsonr(predictions.astype(np.float64), labels.astype(np.float64)).statistic
    return float(np.clip(r, -1.0, 1.0)) if np.isfinite(r) else 0.0


@dataclass(frozen=True)
class Metric:
    """A score of predictions (n,) against labels (n,), with the name that tables give it."""

    name: str
    score: Callable[[NDArray[Any], NDArray[Any]], float]
    is_correlation: bool = False  # between -1 and 1, not between 0 and 1

    def points(self, score: float) -> float:
        """The score's share in the course's 2024 overall: a correlation r counts (r + 1) / 2."""
        return (score + 1) / 2 if self.is_correlation else score


ACCURACY = Metric("accuracy", accuracy)
PEARSON = Metric("Pearson r", pearson, is_correlation=True)

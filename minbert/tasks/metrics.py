"""Scores on a dev set, and whether they show any learning."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


def accuracy(predictions: NDArray[np.generic], labels: NDArray[np.generic]) -> float:
    """Share of predictions that equal their label."""
    return float(np.mean(predictions == labels))


def pearson(predictions: NDArray[np.generic], labels: NDArray[np.generic]) -> float:
    """Pearson's r; 0 where it is undefined (a constant on either side, fewer than two pairs)."""
    if len(labels) < 2 or np.ptp(predictions) == 0 or np.ptp(labels) == 0:
        return 0.0
    from scipy import stats  # here, for it takes a second to load, and predicting needs no score

    # float64: near-constant float32 predictions lose their variance to rounding
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        r = stats.pearsonr(predictions.astype(np.float64), labels.astype(np.float64)).statistic
    return float(np.clip(r, -1.0, 1.0)) if np.isfinite(r) else 0.0


def spearman(predictions: NDArray[np.generic], labels: NDArray[np.generic]) -> float:
    """Spearman's ρ, which is Pearson's r of the ranks; 0 where it is undefined."""
    from scipy import stats  # likewise

    return pearson(stats.rankdata(predictions), stats.rankdata(labels))


def f1(predictions: NDArray[np.generic], labels: NDArray[np.generic]) -> float:
    """F1 of class 1 among 0 and 1; 0 where nothing is of that class."""
    from sklearn.metrics import f1_score  # a second to import, which few runs need

    return float(f1_score(labels, predictions, zero_division=0))


def matthews(predictions: NDArray[np.generic], labels: NDArray[np.generic]) -> float:
    """Matthews' correlation of two classes or more; 0 where one side is constant."""
    from sklearn.metrics import matthews_corrcoef  # likewise

    return float(matthews_corrcoef(labels, predictions))


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
SPEARMAN = Metric("Spearman rho", spearman, is_correlation=True)
F1 = Metric("F1", f1)
MATTHEWS = Metric("Matthews correlation", matthews, is_correlation=True)


def of_commonest(metric: Metric, labels: NDArray[Any]) -> float:
    """The score of answering every example with the commonest of the labels (n,), NaN left out."""
    known = labels[~np.isnan(labels)].astype(np.float64)
    return metric.score(_commonest(known), known)


DEGENERATE = (
    "degenerate: on every task the dev predictions are one and the same value, or score below the "
    "commonest label"
)
_ROUNDING = 1e-5  # of the largest prediction: a constant in fp32 varies by less


def is_degenerate(tasks: Iterable[tuple[Metric, NDArray[Any], NDArray[Any]]]) -> bool:
    """Whether nothing was learned, by each task's metric, predictions (n,) and labels (n,).

    Either every task's predictions are constant, or every task's score is below that of its
    commonest label. Examples of which one of both is NaN are left out, as are tasks whose labels
    are all alike.
    """
    known = [(metric, *_known(*arrays)) for metric, *arrays in tasks]
    judged = [
        (metric, guesses, labels) for metric, guesses, labels in known if len(set(labels)) > 1
    ]
    constant = [np.ptp(guesses) <= _ROUNDING * np.abs(guesses).max() for _, guesses, _ in judged]
    below = [
        metric.score(guesses, labels) < of_commonest(metric, labels)
        for metric, guesses, labels in judged
    ]
    return bool(judged) and (all(constant) or all(below))


def _known(
    predictions: NDArray[Any], labels: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    guesses, truth = predictions.astype(np.float64), labels.astype(np.float64)
    known = ~(np.isnan(guesses) | np.isnan(truth))
    return guesses[known], truth[known]


def _commonest(labels: NDArray[np.float64]) -> NDArray[np.float64]:
    values, counts = np.unique(labels, return_counts=True)
    return np.full_like(labels, values[counts.argmax()])

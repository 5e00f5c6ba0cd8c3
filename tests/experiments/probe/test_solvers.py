"""Probes against scikit-learn's optimum, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from minbert.experiments.probe.solvers import LinearProbe, Scale, fit_logistic, fit_ridge


def planted(n: int, d: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of very unlike variances, and labels drawn from a linear model of them."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, d)) * np.logspace(0, -2, d)
    labels = (features @ rng.normal(size=(d, k)) + rng.gumbel(size=(n, k))).argmax(axis=1)
    return features + rng.normal(size=d), labels


def rotation(d: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(7).normal(size=(d, d)))[0]


def loss_of(matrix: np.ndarray, bias: np.ndarray, x: np.ndarray, y: np.ndarray, s: float) -> float:
    logs = log_softmax(x @ matrix + bias, axis=1)
    return float(-logs[np.arange(len(y)), y].mean() + s / 2 * (matrix**2).sum())


@pytest.mark.parametrize(
    ("n", "d", "k", "strength"), [(300, 24, 3, 1e-3), (200, 40, 5, 1e-5), (400, 10, 2, 1.0)]
)
def test_the_loss_is_scikit_learns(n: int, d: int, k: int, strength: float) -> None:
    from sklearn.linear_model import LogisticRegression

    features, labels = planted(n, d, k)
    x = Scale.of(features)(features)
    ours = fit_logistic(x, labels, k, strength)
    weaker = 2 if k == 2 else 1  # two classes have one row there, and ours are penalised by half
    settings = {"C": weaker / (strength * n), "tol": 1e-12, "max_iter": 100_000}
    theirs = LogisticRegression(solver="newton-cg", **settings).fit(x, labels)
    matrix, bias = theirs.coef_.T, theirs.intercept_
    if k == 2:
        matrix = np.concatenate([-matrix / 2, matrix / 2], axis=1)
        bias = np.array([-bias[0] / 2, bias[0] / 2])
    expected = loss_of(matrix, bias, x, labels, strength)
    assert ours.gradient <= 1e-8
    assert ours.loss == pytest.approx(expected, rel=1e-6)
    assert ours.loss == pytest.approx(loss_of(ours.matrix, ours.bias, x, labels, strength))


def test_ridge_is_scikit_learns() -> None:
    from sklearn.linear_model import Ridge

    features, _ = planted(150, 30, 2)
    targets = features @ np.linspace(-1, 1, 30) + np.random.default_rng(3).normal(size=150)
    for strength in (1e-6, 1e-2, 10.0):
        ours = fit_ridge(features, targets, strength)
        theirs = Ridge(alpha=strength * 150).fit(features, targets)
        np.testing.assert_allclose(ours.scores(features)[:, 0], theirs.predict(features), atol=1e-8)
        assert ours.gradient <= 1e-8


@pytest.mark.parametrize("change", ["turned", "moved", "stretched"])
def test_what_does_not_change_a_probes_answers(change: str) -> None:
    features, labels = planted(200, 12, 3)
    other = {
        "turned": features @ rotation(12),
        "moved": features + np.linspace(-9, 9, 12),
        "stretched": 40.0 * features,
    }[change]
    answers = []
    for x in (features, other):
        scaled = Scale.of(x)(x)
        classes = fit_logistic(scaled, labels, 3, 1e-2).scores(scaled)
        numbers = fit_ridge(scaled, labels, 1e-2).scores(scaled)
        answers.append((classes - classes.mean(axis=1, keepdims=True), numbers))
    for first, second in zip(*answers, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)


def test_shuffled_labels_are_told_at_chance() -> None:
    features, labels = planted(2000, 10, 2)
    rng = np.random.default_rng(1)
    x, shuffled = Scale.of(features)(features), rng.permutation(labels)
    probe = fit_logistic(x[:1000], shuffled[:1000], 2, 1e-3)
    right = (probe.scores(x[1000:]).argmax(axis=1) == shuffled[1000:]).mean()
    most = np.bincount(shuffled[1000:]).max() / 1000
    assert right < most + 4 * 0.016  # four standard errors


def test_a_start_changes_the_way_and_not_the_end() -> None:
    features, labels = planted(300, 20, 4)
    x = Scale.of(features)(features)
    cold = fit_logistic(x, labels, 4, 1e-3)
    warm = fit_logistic(x, labels, 4, 1e-3, fit_logistic(x, labels, 4, 1e-1))
    assert warm.loss == pytest.approx(cold.loss, rel=1e-12)


def test_features_without_any_spread_tell_the_commonest_label() -> None:
    features, labels = np.ones((30, 4)), np.array([0] * 20 + [1] * 10)
    x = Scale.of(features)(features)
    probe: LinearProbe = fit_logistic(x, labels, 2, 1e-3)
    assert (probe.scores(x).argmax(axis=1) == 0).all() and np.isfinite(probe.loss)


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, -1, 1], [0, 0.5, 1]])
def test_labels_that_are_no_class(labels: list[float]) -> None:
    with pytest.raises(ValueError, match=r"among 0\.\.1"):
        fit_logistic(np.eye(3), np.array(labels), 2, 1.0)


@pytest.mark.parametrize("strength", [0.0, -1.0])
def test_a_strength_that_leaves_no_best_probe(strength: float) -> None:
    for fit in (lambda: fit_logistic(np.eye(2), np.array([0, 1]), 2, strength),
                lambda: fit_ridge(np.eye(2), np.array([0, 1]), strength)):  # fmt: skip
        with pytest.raises(ValueError, match="above 0"):
            fit()

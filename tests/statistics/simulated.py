"""Simulated data with known truth, for intervals and tests that must mean what they say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

DRAWS = 1000


def noisy(labels: np.ndarray, right: float, seed: int) -> np.ndarray:
    """Predictions of five classes that are right with this probability."""
    draw = np.random.default_rng(seed)
    return np.where(draw.random(len(labels)) < right, labels, (labels + 1) % 5)


def correlated(draw: np.random.Generator, r: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Two normal variables with this correlation."""
    x, noise = draw.normal(size=(2, count))
    return x, r * x + (1 - r * r) ** 0.5 * noise


def share(happens: Callable[[np.random.Generator], bool], draws: int = DRAWS) -> float:
    """How often something happens over many draws."""
    draw = np.random.default_rng(2026)
    return float(np.mean([happens(draw) for _ in range(draws)]))

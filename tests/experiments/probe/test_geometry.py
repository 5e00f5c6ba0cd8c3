"""Measures of a cloud of vectors against their formulas and planted clouds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minbert.experiments.probe import geometry
from tests.experiments.probe.test_solvers import rotation

RNG = np.random.default_rng(0)
CLOUD = RNG.normal(size=(60, 8)) @ np.diag(np.linspace(3, 0.1, 8)) + np.arange(8)


def planted_rank_one(n: int = 200, d: int = 16) -> np.ndarray:
    return np.outer(RNG.normal(size=n), RNG.normal(size=d)) + RNG.normal(size=d)


def test_one_direction() -> None:
    cloud = planted_rank_one() + 1e-4 * RNG.normal(size=(200, 16))
    assert geometry.effective_rank(geometry.spectrum(cloud)) <= 1.1
    assert geometry.anisotropy(geometry.spectrum(cloud)) >= 0.99


def test_equal_directions() -> None:
    """The corners of a cross-polytope: every direction has the same spread."""
    cloud = np.concatenate([np.eye(6), -np.eye(6)])
    assert geometry.effective_rank(geometry.spectrum(cloud)) == pytest.approx(6)
    assert geometry.anisotropy(geometry.spectrum(cloud)) == pytest.approx(1 / 6)


def test_the_formulas_number_by_number() -> None:
    centred = CLOUD - CLOUD.mean(axis=0)
    variances = np.linalg.eigvalsh(centred.T @ centred)
    values = [math.sqrt(value) for value in variances]
    entropy = -sum(v / sum(values) * math.log(v / sum(values)) for v in values)
    spectrum = geometry.spectrum(CLOUD)
    assert geometry.effective_rank(spectrum) == pytest.approx(math.exp(entropy))
    assert geometry.anisotropy(spectrum) == pytest.approx(variances[-1] / variances.sum())
    pairs = [
        CLOUD[i] @ CLOUD[j] / (np.linalg.norm(CLOUD[i]) * np.linalg.norm(CLOUD[j]))
        for i in range(60)
        for j in range(60)
        if i != j
    ]
    assert geometry.mean_cosine(CLOUD) == pytest.approx(np.mean(pairs))


def test_cka_by_kernels() -> None:
    """The same number from the n x n kernels, as its definition has it."""
    other = np.tanh(CLOUD[:, :5]) + 0.1 * RNG.normal(size=(60, 5))
    centre = np.eye(60) - 1 / 60
    kernels = [centre @ cloud @ cloud.T @ centre for cloud in (CLOUD, other)]
    hsic = [np.trace(a @ b) for a in kernels for b in kernels]
    expected = hsic[1] / math.sqrt(hsic[0] * hsic[3])
    assert geometry.linear_cka(CLOUD, other) == pytest.approx(expected)
    assert 0 < expected < 1


def test_what_cka_and_the_spectrum_do_not_see() -> None:
    other = 5 * CLOUD @ rotation(8) + np.linspace(-3, 3, 8)
    assert geometry.linear_cka(CLOUD, other) == pytest.approx(1)
    spectra = geometry.spectrum(other), geometry.spectrum(CLOUD)
    np.testing.assert_allclose(spectra[0], 5 * spectra[1], atol=1e-9)
    ranks = [geometry.effective_rank(spectrum) for spectrum in spectra]
    assert ranks[0] == pytest.approx(ranks[1])


def test_clouds_without_spread() -> None:
    point = np.ones((5, 3))
    spectrum = geometry.spectrum(point)
    assert geometry.effective_rank(spectrum) == geometry.anisotropy(spectrum) == 0
    assert geometry.linear_cka(point, CLOUD[:5]) == 0
    assert geometry.mean_cosine(point) == pytest.approx(1)
    assert geometry.mean_cosine(np.zeros((3, 2))) == 0
    with pytest.raises(ValueError, match="no pair"):
        geometry.mean_cosine(point[:1])

"""Label noise has the stated rates and stays in range."""

from __future__ import annotations

import math
from random import Random

import pytest

from minbert.sample import noise

DRAWS = 5000


def near(rate: float) -> object:
    """Within four standard deviations of a share of DRAWS."""
    return pytest.approx(rate, abs=4 * math.sqrt(rate * (1 - rate) / DRAWS))


@pytest.mark.parametrize("grade", range(5))
def test_grades_move_to_a_neighbour(grade: int) -> None:
    rng = Random(grade)
    spelled = [noise.neighbour(rng, grade) for _ in range(DRAWS)]
    assert sum(label != str(grade) for label in spelled) / DRAWS == near(noise.NEIGHBOUR)
    neighbours = {grade - 1, grade, grade + 1} & set(range(5))
    assert {int(label) for label in spelled} == neighbours


@pytest.mark.parametrize(
    ("spell", "rate", "labels"),
    [(noise.flipped, noise.FLIP, ("0.0", "1.0")), (noise.misread, noise.REVIEW_FLIP, ("0", "1"))],
)
def test_labels_flip(spell, rate: float, labels: tuple[str, str]) -> None:
    rng = Random(0)
    for truth, right in enumerate(labels):
        spelled = [spell(rng, truth) for _ in range(DRAWS)]
        assert set(spelled) == set(labels)
        assert sum(label != right for label in spelled) / DRAWS == near(rate)


def test_ratings_are_means_of_five_whole_ones() -> None:
    rng = Random(0)
    ratings = [float(noise.rated(rng, 2.5)) for _ in range(DRAWS)]
    assert all(round(rating * 5, 6) % 1 == 0 for rating in ratings)
    mean = sum(ratings) / DRAWS
    assert mean == pytest.approx(2.5, abs=0.03)
    spread = math.sqrt(sum((rating - mean) ** 2 for rating in ratings) / DRAWS)
    assert spread == pytest.approx(math.hypot(noise.SPREAD, 0.2 / math.sqrt(12)), abs=0.02)
    edges = {noise.rated(rng, end) for end in (0.0, 5.0) for _ in range(500)}
    assert min(map(float, edges)) == 0.0 and max(map(float, edges)) == 5.0
    assert "0.0" in edges and "5.0" in edges

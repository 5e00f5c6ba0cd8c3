"""Label noise like that of human raters: neighbours, flips, and the mean of five opinions."""

from random import Random

from minbert.sample.draw import gaussian

NEIGHBOUR = 0.10  # of the sentences get the grade beside theirs
FLIP = 0.06  # of the question pairs get the other label
REVIEW_FLIP = 0.02  # of the reviews
SPREAD = 0.4  # standard deviation of a mean of five raters, in points of similarity
RATERS = 5


def neighbour(rng: Random, grade: float) -> str:
    """Spell a grade, 0 to 4, or one beside it."""
    if rng.random() < NEIGHBOUR:
        step = 1 if rng.random() < 0.5 else -1
        grade += step if 0 <= grade + step <= 4 else -step
    return f"{grade:.0f}"


def flipped(rng: Random, label: float) -> str:
    """Spell the label of a question pair, 0.0 or 1.0, or the other one."""
    return f"{1 - label if rng.random() < FLIP else label:.1f}"


def misread(rng: Random, label: float) -> str:
    """Spell the label of a review, 0 or 1, or the other one."""
    return f"{1 - label if rng.random() < REVIEW_FLIP else label:.0f}"


def rated(rng: Random, similarity: float) -> str:
    """Spell a similarity, 0 to 5, as the mean of five whole ratings would be."""
    mean = similarity + SPREAD * gaussian(rng)
    return f"{max(0, min(5 * RATERS, int(mean * RATERS + 0.5))) / RATERS:.1f}"

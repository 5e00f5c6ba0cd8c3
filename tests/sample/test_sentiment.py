"""The algebra of sentiment."""

from __future__ import annotations

import pytest

from minbert.sample.sentiment import (
    conceding,
    contrasted,
    grade,
    intensified,
    joined,
    negated,
    refused,
    sign,
    toned_down,
    unreal,
)

DREADFUL, DULL, PLAIN, GOOD, SUPERB = -2, -1, 0, 1, 2


@pytest.mark.parametrize(
    ("said", "valence", "expected"),
    [
        ("superb", SUPERB, 4),
        ("good", GOOD, 3),
        ("plain", PLAIN, 2),
        ("dull", DULL, 1),
        ("dreadful", DREADFUL, 0),
        ("very good", intensified(GOOD), 4),
        ("very dull", intensified(DULL), 0),
        ("somewhat superb", toned_down(SUPERB), 3),
        ("somewhat dull", toned_down(DULL), 2),
        ("not good", negated(GOOD), 1),
        ("not superb", negated(SUPERB), 2),
        ("not dull", negated(DULL), 3),
        ("not dreadful", negated(DREADFUL), 2),
        ("anything but superb", refused(SUPERB), 1),
        ("anything but dreadful", refused(DREADFUL), 3),
        ("could have been superb", unreal(SUPERB), 1),
        ("could have been dreadful", unreal(DREADFUL), 3),
        ("good and good", joined(GOOD, GOOD), 3),
        ("good and superb", joined(GOOD, SUPERB), 4),
        ("dull and dreadful", joined(DULL, DREADFUL), 0),
        ("superb but dull", contrasted(SUPERB, DULL), 2),
        ("dull but superb", contrasted(DULL, SUPERB), 3),
        ("superb but dreadful", contrasted(SUPERB, DREADFUL), 1),
        ("good but dreadful", contrasted(GOOD, DREADFUL), 1),
        ("good but dull", contrasted(GOOD, DULL), 2),
        ("dreadful for all its charm", conceding(DREADFUL), 1),
        ("superb despite its cliches", conceding(SUPERB), 3),
    ],
)
def test_grades(said: str, valence: float, expected: int) -> None:
    assert grade(valence) == expected


def test_grades_are_mirrored_and_in_order() -> None:
    steps = [x / 10 for x in range(-20, 21)]
    grades = [grade(x) for x in steps]
    assert grades == sorted(grades) and set(grades) == {0, 1, 2, 3, 4}
    assert all(grade(x) == 4 - grade(-x) for x in steps)
    assert [sign(x) for x in (-0.3, 0, 2)] == [-1, 0, 1]


def test_nothing_leaves_the_scale() -> None:
    for one in (-2.0, -0.8, 0.0, 1.0, 2.0):
        for made in (intensified(one), negated(one), refused(one), unreal(one), conceding(one)):
            assert -2 <= made <= 2
        for two in (-2.0, 0.0, 2.0):
            assert -2 <= joined(one, two) <= 2 and -2 <= contrasted(one, two) <= 2

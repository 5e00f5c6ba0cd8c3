"""Drawing: what may be taken, what is remembered, and what is forgotten."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from minbert.sample.draw import ExampleDraw, exchanged, gaussian, quota, shuffled
from minbert.sample.lexicon import divided, lists

PEOPLE = lists()["person"]
RULE = ("one", "two", "*three")


def test_a_familiar_example_takes_nothing_held_out() -> None:
    draw = ExampleDraw(Random(0))
    for _ in range(300):
        draw.word(PEOPLE)
        draw.production(RULE)
    assert draw.held == []
    assert set(draw.entries) == set(divided(PEOPLE)[0])
    assert set(draw.productions) == {"one", "two"}


def test_a_novel_example_takes_both_and_says_so() -> None:
    draw = ExampleDraw(Random(0), novel=True)
    taken = {draw.production(RULE) for _ in range(100)}
    assert taken == {"one", "two", "three"}
    assert "*three" in draw.held
    entry = next(word for word in iter(lambda: draw.word(PEOPLE), "") if word in divided(PEOPLE)[1])
    assert entry in draw.held


def test_items_are_not_repeated_while_others_are_left() -> None:
    repeats = 0
    for seed in range(100):
        draw = ExampleDraw(Random(seed))
        repeats += draw.word(PEOPLE) == draw.word(PEOPLE)
    assert repeats == 0


def test_what_is_rejected_is_forgotten() -> None:
    draw = ExampleDraw(Random(0))
    draw.word(PEOPLE)
    before = list(draw.entries)

    def make() -> str:
        draw.production(RULE)
        draw.once("name", lists()["city"])
        return draw.word(PEOPLE)

    made = draw.until(make, lambda word: word.startswith("s"))
    assert made.startswith("s")
    assert draw.entries == [*before, draw.settled["name"], made]
    assert len(draw.productions) == 1


def test_once_stays_and_other_differs() -> None:
    draw = ExampleDraw(Random(0))
    assert len({draw.once("city", lists()["city"]) for _ in range(20)}) == 1
    taken = {draw.other(("a/b", "b/c", "d"), ["a/x", "y"]) for _ in range(50)}
    assert taken == {"b/c", "d"}


def test_a_concept_is_said_in_each_of_its_wordings() -> None:
    draw = ExampleDraw(Random(0))
    assert {draw.wording("repair/fix/mend") for _ in range(50)} == {"repair", "fix", "mend"}
    assert draw.entries == []  # the concept was taken from its list before


def test_two_roles_are_exchanged_and_the_others_stay() -> None:
    filled = {"one": "monk", "two": "baker", "verb": "thank"}
    assert exchanged(filled, ("one", "two")) == {"one": "baker", "two": "monk", "verb": "thank"}
    assert filled["one"] == "monk"


def test_quota_keeps_the_shares() -> None:
    labels = quota(Random(1), (1, 3), 400)
    assert Counter(labels) == {0: 100, 1: 300}
    assert labels != sorted(labels)
    assert sorted(shuffled(Random(1), range(9))) == list(range(9))


def test_chance_and_gaussian() -> None:
    draw = ExampleDraw(Random(0))
    assert sum(draw.chance(0.25) for _ in range(4000)) == pytest.approx(1000, abs=110)
    values = [gaussian(draw.rng) for _ in range(4000)]
    assert sum(values) / 4000 == pytest.approx(0, abs=0.07)
    assert sum(v * v for v in values) / 4000 == pytest.approx(1, abs=0.1)

"""What sentences of a review say, and that their valence follows from it."""

from __future__ import annotations

from random import Random

import pytest

from minbert.sample import opinions
from minbert.sample.clauses import Production
from minbert.sample.draw import ExampleDraw
from minbert.sample.lexicon import lists
from minbert.sample.opinions import STATEMENTS, sentence
from minbert.sample.sentiment import Phrase, grade
from tests.sample.phrases import check_says_something, drawn

EVERY = {name: make for name, (_, make) in STATEMENTS.items()}


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
def test_every_production_says_something(make: Production) -> None:
    check_says_something(make)


@pytest.mark.parametrize("make", [opinions.reported, opinions.unlike_source])
def test_only_the_speaker_counts(make: Production, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opinions, "clause", lambda draw: Phrase("it is fine", 1.25))
    phrases = drawn(make)
    assert {phrase.valence for phrase in phrases} == {1.25}
    assert len({phrase.text for phrase in phrases}) > 20


def test_of_two_opposites_the_main_one_wins() -> None:
    for seed in range(60):
        phrase = opinions.opposed(ExampleDraw(Random(seed)))
        assert abs(phrase.valence) <= 1.5 - 0.35 * 0.2 + 1e-9, phrase


def test_advice_goes_with_the_judgement() -> None:
    for phrase in drawn(opinions.advised):
        if phrase.valence >= 1.5:
            assert phrase.text.endswith(lists()["urge"] + lists()["suggest"])
        if phrase.valence <= -1.5:
            assert phrase.text.endswith(lists()["reject"] + lists()["warn"])


def test_all_grades_are_said() -> None:
    grades = {grade(phrase.valence) for phrase in drawn(opinions.statement, 200)}
    assert grades == {0, 1, 2, 3, 4}


def test_sentences_are_spaced_like_the_course_files() -> None:
    assert sentence(Phrase("a odd plot , once", 0)) == "An odd plot , once ."

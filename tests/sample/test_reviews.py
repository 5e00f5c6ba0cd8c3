"""Reviews lean one way, and their length is that of the real ones."""

from __future__ import annotations

from random import Random

import pytest

from minbert.sample import reviews
from minbert.sample.draw import ExampleDraw
from minbert.sample.lexicon import lists
from minbert.sample.reviews import LEAD, leaning, of_grade, review, sentence_of
from minbert.sample.sentiment import Phrase, grade


@pytest.mark.parametrize("wanted", range(5))
def test_statements_of_a_grade(wanted: int) -> None:
    assert grade(of_grade(ExampleDraw(Random(wanted)), wanted).valence) == wanted
    assert sentence_of(ExampleDraw(Random(wanted)), wanted).endswith(" .")


@pytest.mark.parametrize("liked", [0, 1])
def test_most_opinions_support_the_verdict(liked: int) -> None:
    lean = 1 if liked else -1
    sums = [
        draw.until(lambda d=draw: leaning(d, lean), lambda r: lean * sum(r.valences) >= LEAD)
        for draw in (ExampleDraw(Random(seed)) for seed in range(10))
    ]
    assert all(lean * sum(made.valences) >= LEAD for made in sums)
    assert any(lean * value < 0 for made in sums for value in made.valences)  # it concedes


def test_a_review_is_about_one_kind_of_film() -> None:
    for seed in range(10):
        draw = ExampleDraw(Random(seed))
        text = review(draw, 1)
        assert [genre for genre in lists()["genre"] if genre in draw.entries] == [
            draw.settled["genre"]
        ]
        assert f" {draw.settled['genre']}" in text
        assert 80 < len(text.split()) < 220
        assert "{" not in text


def test_a_noun_phrase_becomes_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([Phrase("a odd film", 1, verb=False), Phrase("it works", 1)] * 100)
    monkeypatch.setattr(reviews, "of_grade", lambda draw, wanted: next(said))
    text = " ".join(leaning(ExampleDraw(Random(seed)), 1).text for seed in range(5)).lower()
    assert text.count("this is an odd film .") == text.count("an odd film .") > 5
    assert text.count("it works .") > 5 and "this is it works" not in text

"""Longer reviews: a story, several opinions, and a verdict that most of them support.

A review leans one way, yet concedes a point now and then, quotes others, and tells of another film.
"""

from typing import NamedTuple

from minbert.sample.draw import ExampleDraw
from minbert.sample.grammar import expand, tidy
from minbert.sample.opinions import advised, sentence, statement, synopsis
from minbert.sample.sentiment import Phrase, grade

SHORTEST, LONGEST = 90, 150  # words, before the last opinion and the advice
LEANINGS = (2, 2, 1, 1, 0, -1)  # what one opinion is worth to the side the review takes
LEAD = 2  # by how much the opinions of its side win at least


class Review(NamedTuple):
    """The text of a review, and the valences of its opinions."""

    text: str
    valences: tuple[int, ...]


def of_grade(draw: ExampleDraw, wanted: int) -> Phrase:
    """Draw a statement of one of the five grades."""
    return draw.until(lambda: statement(draw), lambda said: grade(said.valence) == wanted)


def sentence_of(draw: ExampleDraw, wanted: int) -> str:
    """Draw a sentence of one of the five grades."""
    return sentence(of_grade(draw, wanted))


def review(draw: ExampleDraw, liked: int) -> str:
    """Draw a review that likes the film (1) or does not (0)."""
    lean = 1 if liked else -1
    return draw.until(lambda: leaning(draw, lean), lambda r: lean * sum(r.valences) >= LEAD).text


def leaning(draw: ExampleDraw, lean: int) -> Review:
    """Draw a review most of whose opinions should go one way."""
    length = SHORTEST + draw.rng.random() * (LONGEST - SHORTEST)
    said = [expand(draw, "{review_opening}"), sentence(synopsis(draw))]
    valences: list[int] = []
    while len(" ".join(said).split()) < length:
        valences.append(lean * draw.pick(LEANINGS))
        said.append(_linked(draw, of_grade(draw, valences[-1] + 2)))
    last = draw.until(lambda: advised(draw), lambda advice: grade(advice.valence) == 2 + lean)
    return Review(" ".join([*map(tidy, said), sentence(last)]), (*valences, lean))


def _linked(draw: ExampleDraw, said: Phrase) -> str:
    link = expand(draw, "{review_link} ") if draw.chance(0.3) else ""
    return f"{link}{'' if said.verb else 'this is '}{said.text} ."

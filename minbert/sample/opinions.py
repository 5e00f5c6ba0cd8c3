"""Sentences of a review: clauses joined, opposed, or set beside what does not count.

What others thought, what another film was like and what happens in the story add words of praise
and blame to a sentence, and nothing to its sentiment.
"""

from minbert.sample.clauses import (
    Rule,
    adjective_phrase,
    clause,
    framed,
    pointed,
    pointed_adjective,
    produced,
    saying,
)
from minbert.sample.draw import ExampleDraw
from minbert.sample.grammar import expand, tidy
from minbert.sample.sentiment import Phrase, clipped, conceding, contrasted, joined

ADVICE = {"reject": -2, "warn": -1, "shrug": 0, "suggest": 1, "urge": 2}
pointed_clause = pointed(clause)


def one_clause(draw: ExampleDraw) -> Phrase:
    """Say one thing, perhaps after an opener."""
    said = clause(draw)
    opener = expand(draw, "{opener} , ") if draw.chance(0.4) else ""
    return Phrase(opener + said.text, said.valence)


def film(draw: ExampleDraw) -> Phrase:
    """Return "a rather dull western about a baker who inherits a lighthouse"."""
    said = adjective_phrase(draw)
    return Phrase(expand(draw, f"a {said.text} {{genre}} {{about}}"), said.valence, verb=False)


def synopsis(draw: ExampleDraw) -> Phrase:
    """State what happens, with no opinion."""
    return Phrase(expand(draw, "{synopsis}"), 0.0)


def judged_story(draw: ExampleDraw) -> Phrase:
    """Tell the story, then judge."""
    said = clause(draw)
    link = draw.production((" ; ", " , and ", " : ", "* - "))
    return Phrase(expand(draw, "{synopsis}") + link + said.text, said.valence)


def paired(draw: ExampleDraw) -> Phrase:
    """Join two clauses that agree."""
    first = clause(draw)
    second = draw.until(lambda: clause(draw), lambda made: first.valence * made.valence >= 0)
    link = draw.production((" and ", " , and ", " ; ", "* , while "))
    return Phrase(first.text + link + second.text, joined(first.valence, second.valence))


def opposed(draw: ExampleDraw) -> Phrase:
    """Set a clause against another; where the weaker one stands depends on the conjunction."""
    aside = pointed_clause(draw)
    main = draw.until(lambda: clause(draw), lambda made: aside.valence * made.valence < 0)
    text = framed(draw, "opposed", aside=aside.text, main=main.text)
    return Phrase(text, contrasted(aside.valence, main.valence))


def reported(draw: ExampleDraw) -> Phrase:
    """Return "the critics called it superb, but the plot drags": only the speaker counts."""
    hearsay, said = pointed_adjective(draw), clause(draw)
    return Phrase(framed(draw, "reported", said=hearsay.text) + said.text, said.valence)


def unlike_source(draw: ExampleDraw) -> Phrase:
    """Return "the novel was superb; here the plot drags"."""
    said, rival = clause(draw), pointed_adjective(draw)
    return Phrase(framed(draw, "unlike source", said=rival.text) + said.text, said.valence)


def advised(draw: ExampleDraw) -> Phrase:
    """Judge, then tell the reader what to do about it."""
    said = clause(draw)
    level = min(ADVICE, key=lambda name: abs(ADVICE[name] - said.valence))
    link = draw.production((" ; ", " , so ", "* - my advice : "))
    return Phrase(said.text + link + expand(draw, f"{{{level}}}"), clipped(1.2 * said.valence))


STATEMENTS: Rule = {
    "one clause": (6, one_clause),
    "film": (4, film),
    "synopsis": (1, synopsis),
    "judged story": (2, judged_story),
    "paired": (2, paired),
    "opposed": (2, opposed),
    "conceded": (1, saying(pointed_clause, "despite flaws", conceding, blame="despite assets")),
    "reported": (1, reported),
    "unlike source": (1, unlike_source),
    "advised": (3, advised),
}


def statement(draw: ExampleDraw) -> Phrase:
    """Say something about a film."""
    return produced(draw, STATEMENTS)


def sentence(phrase: Phrase) -> str:
    """Spell a phrase as the course's files do, with spaces before the punctuation."""
    return tidy(f"{phrase.text} .")

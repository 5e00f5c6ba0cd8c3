"""Clauses of a review: each says one thing about one part of a film, and how much it was liked.

Words of praise and blame also stand in clauses that deny them, doubt them, or speak of another
film. So counting the words tells only part of the sentiment.
"""

from collections.abc import Callable, Mapping

from minbert.sample.draw import ExampleDraw
from minbert.sample.grammar import expand
from minbert.sample.lexicon import document, lists
from minbert.sample.sentiment import (
    VALENCES,
    Phrase,
    contrasted,
    intensified,
    joined,
    negated,
    refused,
    toned_down,
    unreal,
)

Production = Callable[[ExampleDraw], Phrase]
Rule = Mapping[str, tuple[int, Production]]  # productions by name, each with its weight


def produced(draw: ExampleDraw, rule: Rule) -> Phrase:
    """Expand a rule whose productions are functions."""
    names = [name for name, (weight, _) in rule.items() for _ in range(weight)]
    return rule[draw.production(names)][1](draw)


def graded(section: str) -> Production:
    """Return a production of words from the graded lists of a section of the film words."""

    def make(draw: ExampleDraw) -> Phrase:
        level = draw.pick(tuple(VALENCES))
        return Phrase(draw.word(lists()[f"{section}_{level}"]), VALENCES[level])

    return make


def pointed(make: Production) -> Production:
    """Return a production of what `make` says for or against."""
    return lambda draw: draw.until(lambda: make(draw), lambda said: said.valence != 0)


def framed(draw: ExampleDraw, frames: str, **slots: str) -> str:
    """Fill one of the frames of that name; `said` stands at its end if it has no such slot."""
    choice = document("frames.toml")[frames]
    frame = choice if isinstance(choice, str) else draw.production(choice)
    text = expand(draw, frame, slots)
    return text if "{said" in frame else text + slots.get("said", "")


def saying(
    words: Production, frames: str, turn: Callable[[float], float] = float, blame: str = ""
) -> Production:
    """Return a production of words in a frame, where `turn` says what they are worth there.

    `blame` names the frames of words that are no praise, if they have their own.
    """

    def make(draw: ExampleDraw) -> Phrase:
        said = words(draw)
        name = blame if blame and said.valence <= 0 else frames
        return Phrase(framed(draw, name, said=said.text), turn(said.valence))

    return make


adjective, predicate, verdict = map(graded, ("adjective", "predicate", "verdict"))
pointed_adjective = pointed(adjective)


# ---- Adjective phrases --------------------------------------------------------------------
def strengthened(draw: ExampleDraw) -> Phrase:
    """Return "very dull", or "utterly superb": "very superb" is not English."""
    said = pointed_adjective(draw)
    adverb = "intensifier" if abs(said.valence) == 1 else "emphasiser"
    return Phrase(f"{expand(draw, f'{{{adverb}}}')} {said.text}", intensified(said.valence))


def twofold(draw: ExampleDraw) -> Phrase:
    """Return "dull and silly", or "dull if sincere", where the first word counts."""
    first, second = pointed_adjective(draw), pointed_adjective(draw)
    if first.valence * second.valence > 0:
        return Phrase(f"{first.text} and {second.text}", joined(first.valence, second.valence))
    link = draw.production(("if", "though", "*albeit"))
    return Phrase(f"{first.text} {link} {second.text}", contrasted(second.valence, first.valence))


ADJECTIVE_PHRASES: Rule = {
    "plain": (5, adjective),  # dull
    "strengthened": (2, strengthened),
    "weakened": (2, saying(pointed_adjective, "weakened", toned_down)),
    "twofold": (2, twofold),
}


def adjective_phrase(draw: ExampleDraw) -> Phrase:
    """Draw an adjective phrase."""
    return produced(draw, ADJECTIVE_PHRASES)


# ---- Clauses ------------------------------------------------------------------------------
def compared(draw: ExampleDraw) -> Phrase:
    """Return "the plot is sharper than that of the sequel", which an idle word may follow."""
    better = draw.chance(0.5)
    far = draw.chance(0.3)
    text = "the {part} is " + ("far " if far else "") + ("{better}" if better else "{worse}")
    text = expand(draw, text + " than that of the {rival}")
    if draw.chance(0.7):
        text += f" , which was {adjective(draw).text} ,"
    return Phrase(text, (1.6 if far else 1.0) * (1 if better else -1))


def equalled(draw: ExampleDraw) -> Phrase:
    """Return "the plot is not nearly as good as that of the novel", or "every bit as dull as"."""
    said = pointed_adjective(draw)
    text = framed(draw, "equalled", said=said.text)
    same = " is every bit as " in text
    return Phrase(text, said.valence if same else refused(said.valence))


def credited(draw: ExampleDraw) -> Phrase:
    """Return "the finale gains from its charm", or "suffers from its cliches"."""
    if draw.chance(0.5):
        return Phrase(framed(draw, "credited"), 1.0)
    return Phrase(framed(draw, "blamed"), -1.0)


CLAUSES: Rule = {
    "copula": (6, saying(adjective_phrase, "copula")),
    "predicate": (4, saying(predicate, "predicate")),
    "negated copula": (4, saying(pointed_adjective, "negated copula", negated)),
    "negated predicate": (2, saying(pointed(predicate), "negated predicate", negated)),
    "verdict": (3, saying(verdict, "verdict")),
    "negated verdict": (1, saying(pointed(verdict), "negated verdict", negated)),
    # a hope that failed, or a danger that passed
    "unrealised": (2, saying(pointed_adjective, "hoped", unreal, blame="feared")),
    "compared": (2, compared),
    "equalled": (2, equalled),
    "denied": (2, saying(pointed_adjective, "denied", refused)),
    "excessive": (1, saying(pointed_adjective, "excessive", negated)),
    "credited": (2, credited),
}


def clause(draw: ExampleDraw) -> Phrase:
    """Say one thing about one part of a film."""
    return produced(draw, CLAUSES)

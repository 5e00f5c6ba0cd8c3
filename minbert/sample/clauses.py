"""Clauses of a review: each says one thing about one part of a film, and how much it was liked.

Words of praise and blame also stand in clauses that deny them, doubt them, or speak of another
film. So counting the words tells only part of the sentiment.
"""

from collections.abc import Callable, Mapping

from minbert.sample.draw import ExampleDraw
from minbert.sample.grammar import expand
from minbert.sample.lexicon import lists
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


def produced(draw: ExampleDraw, rule: Mapping[str, tuple[int, Production]]) -> Phrase:
    """Expand a rule whose productions are functions, each with its weight."""
    names = [name for name, (weight, _) in rule.items() for _ in range(weight)]
    return rule[draw.production(names)][1](draw)


def graded_word(draw: ExampleDraw, section: str) -> Phrase:
    """Draw from one of the graded lists of a section of the film words."""
    level = draw.pick(tuple(VALENCES))
    return Phrase(draw.word(lists()[f"{section}_{level}"]), VALENCES[level])


def opinionated(draw: ExampleDraw, section: str) -> Phrase:
    """Draw a graded word that is for or against."""
    return draw.until(lambda: graded_word(draw, section), lambda word: word.valence != 0)


# ---- Adjective phrases --------------------------------------------------------------------
def plain_adjective(draw: ExampleDraw) -> Phrase:
    """Return "dull"."""
    return graded_word(draw, "adjective")


def strengthened(draw: ExampleDraw) -> Phrase:
    """Return "very dull", or "utterly superb": "very superb" is not English."""
    said = opinionated(draw, "adjective")
    adverb = "intensifier" if abs(said.valence) == 1 else "emphasiser"
    return Phrase(f"{expand(draw, f'{{{adverb}}}')} {said.text}", intensified(said.valence))


def weakened(draw: ExampleDraw) -> Phrase:
    """Return "rather dull"."""
    said = opinionated(draw, "adjective")
    return Phrase(expand(draw, "{downtoner} ") + said.text, toned_down(said.valence))


def twofold(draw: ExampleDraw) -> Phrase:
    """Return "dull and silly", or "dull if sincere", where the first word counts."""
    first, second = opinionated(draw, "adjective"), opinionated(draw, "adjective")
    if first.valence * second.valence > 0:
        return Phrase(f"{first.text} and {second.text}", joined(first.valence, second.valence))
    link = draw.production(("if", "though", "*albeit"))
    return Phrase(f"{first.text} {link} {second.text}", contrasted(second.valence, first.valence))


ADJECTIVE_PHRASES: Mapping[str, tuple[int, Production]] = {
    "plain": (5, plain_adjective),
    "strengthened": (2, strengthened),
    "weakened": (2, weakened),
    "twofold": (2, twofold),
}


def adjective_phrase(draw: ExampleDraw) -> Phrase:
    """Draw an adjective phrase."""
    return produced(draw, ADJECTIVE_PHRASES)


# ---- Clauses ------------------------------------------------------------------------------
def copula(draw: ExampleDraw) -> Phrase:
    """Return "the pacing is rather dull"."""
    said = adjective_phrase(draw)
    verb = draw.production(("is", "is", "is", "feels", "seems", "remains", "*proves"))
    return Phrase(expand(draw, f"the {{part}} {verb} ") + said.text, said.valence)


def predicate(draw: ExampleDraw) -> Phrase:
    """Return "the pacing drags in the middle"."""
    said = graded_word(draw, "predicate")
    return Phrase(expand(draw, "the {part} {vp|s}", {"vp": said.text}), said.valence)


def negated_copula(draw: ExampleDraw) -> Phrase:
    """Return "the pacing is never dull"."""
    said = opinionated(draw, "adjective")
    verb = draw.production(("is not", "is n't", "is never", "is hardly", "*is by no means"))
    return Phrase(expand(draw, f"the {{part}} {verb} ") + said.text, negated(said.valence))


def negated_predicate(draw: ExampleDraw) -> Phrase:
    """Return "the pacing does not drag in the middle"."""
    said = opinionated(draw, "predicate")
    verb = draw.production(
        ("never {vp|s}", "does not {vp}", "does n't {vp}", "*can hardly be said to {vp}")
    )
    return Phrase(expand(draw, f"the {{part}} {verb}", {"vp": said.text}), negated(said.valence))


def verdict(draw: ExampleDraw) -> Phrase:
    """Return "this western is a treat"."""
    said = graded_word(draw, "verdict")
    frame = draw.production(("this {genre} is a ", "it is a ", "the {genre} is a ", "*call it a "))
    return Phrase(expand(draw, frame) + said.text, said.valence)


def negated_verdict(draw: ExampleDraw) -> Phrase:
    """Return "this western is no masterpiece"."""
    said = opinionated(draw, "verdict")
    frame = draw.production(("this {genre} is no ", "it is not a ", "*nobody would call it a "))
    return Phrase(expand(draw, frame) + said.text, negated(said.valence))


def unrealised(draw: ExampleDraw) -> Phrase:
    """Return "the ending could have been superb": a hope that failed, or a danger that passed."""
    said = opinionated(draw, "adjective")
    hopes = (
        "the {part} could have been ",
        "the {part} should have been ",
        "the {part} wants so badly to be ",
        "*the {part} was clearly meant to be ",
    )
    fears = (
        "the {part} could so easily have been ",
        "*with less care the {part} would have been ",
    )
    frame = draw.production(hopes if said.valence > 0 else fears)
    return Phrase(expand(draw, frame) + said.text, unreal(said.valence))


def compared(draw: ExampleDraw) -> Phrase:
    """Return "the plot is sharper than that of the sequel", which an idle word may follow."""
    better = draw.chance(0.5)
    far = draw.chance(0.3)
    text = "the {part} is " + ("far " if far else "") + ("{better}" if better else "{worse}")
    text = expand(draw, text + " than that of the {rival}")
    if draw.chance(0.7):
        text += f" , which was {graded_word(draw, 'adjective').text} ,"
    return Phrase(text, (1.6 if far else 1.0) * (1 if better else -1))


def equalled(draw: ExampleDraw) -> Phrase:
    """Return "the plot is not nearly as good as that of the novel", or "every bit as dull as"."""
    said = opinionated(draw, "adjective")
    frames = (
        "every bit as {a} as",
        "not nearly as {a} as",
        "less {a} than",
        "*nowhere near as {a} as",
    )
    frame = draw.production(frames)
    text = expand(draw, f"the {{part}} is {frame} that of the {{rival}}", {"a": said.text})
    return Phrase(text, said.valence if frame.startswith("every") else refused(said.valence))


def denied(draw: ExampleDraw) -> Phrase:
    """Return "nothing about the plot is superb"."""
    said = opinionated(draw, "adjective")
    frames = (
        "the {part} is anything but {a}",
        "the {part} is far from {a}",
        "nothing about the {part} is {a}",
        "*at no point is the {part} {a}",
        "*there is no {a} {part} in sight",
    )
    return Phrase(expand(draw, draw.production(frames), {"a": said.text}), refused(said.valence))


def excessive(draw: ExampleDraw) -> Phrase:
    """Return "the plot is too short to be dull"."""
    said = opinionated(draw, "adjective")
    frame = draw.production(
        ("the {part} is too {excess} to be {a}", "*the {part} is so {excess} that it cannot be {a}")
    )
    return Phrase(expand(draw, frame, {"a": said.text}), negated(said.valence))


def credited(draw: ExampleDraw) -> Phrase:
    """Return "the finale gains from its charm", or "suffers from its cliches"."""
    if draw.chance(0.5):
        frames = ("the {part} is saved by its {asset}", "the {part} gains from its {asset}")
        return Phrase(expand(draw, draw.production((*frames, "*the {part} lives on {asset}"))), 1.0)
    frames = ("the {part} is spoilt by {flaw}", "the {part} suffers from its {flaw}")
    return Phrase(expand(draw, draw.production((*frames, "*the {part} drowns in {flaw}"))), -1.0)


CLAUSES: Mapping[str, tuple[int, Production]] = {
    "copula": (6, copula),
    "predicate": (4, predicate),
    "negated copula": (4, negated_copula),
    "negated predicate": (2, negated_predicate),
    "verdict": (3, verdict),
    "negated verdict": (1, negated_verdict),
    "unrealised": (2, unrealised),
    "compared": (2, compared),
    "equalled": (2, equalled),
    "denied": (2, denied),
    "excessive": (1, excessive),
    "credited": (2, credited),
}


def clause(draw: ExampleDraw) -> Phrase:
    """Say one thing about one part of a film."""
    return produced(draw, CLAUSES)

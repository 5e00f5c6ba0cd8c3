"""Pairs of descriptions whose similarity, 0 to 5, follows from the edits between them.

A scene is a concept for each of its slots. Its second description is an edit of the first: each
slot that changes takes off what the slot is worth, the roles of two people exchanged or a "not"
much more than an adjective, and a synonym or another frame next to nothing. Costs are counted in
tenths of a point, so that sums are exact; `scenes.toml` lists them.
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from minbert.sample.draw import ExampleDraw, exchanged, shuffled
from minbert.sample.grammar import expand, tidy
from minbert.sample.lexicon import concepts, document

FULL = 50  # tenths
OPTIONAL = ("look", "trait", "place", "manner", "scale", "polarity", "weekday")
LEFT_OUT = {"polarity": 0.9, "weekday": 0.3}  # how often; any other slot half the time
UNRELATED = 0.3  # of the pairs of band 0: scenes of two kinds
SYNONYMS = 0.9  # of the words that have synonyms
SAME_FRAME = 0.15


class SceneKind(NamedTuple):
    """A kind of scene: how it can be said, and what may fill its slots."""

    name: str
    frames: tuple[str, ...]
    slots: Mapping[str, tuple[str, ...]]
    swap: tuple[str, ...]


class Scene(NamedTuple):
    """A scene to describe: a concept for each slot, "" in an optional one left out."""

    kind: SceneKind
    slots: Mapping[str, str]


@cache
def kinds() -> tuple[SceneKind, ...]:
    """Read the kinds of scene."""
    source = document("scenes.toml")
    return tuple(
        SceneKind(
            entry["name"],
            tuple(source["frames"][entry["frames"]]),
            {name: concepts(text) for name, text in entry["slots"].items()},
            tuple(entry.get("swap", ())),
        )
        for entry in source["scene"]
    )


@cache
def costs() -> Mapping[str, int]:
    """Return the cost of a change of each slot, and of the other edits, in tenths of a point."""
    source = document("scenes.toml")
    return source["costs"] | source["edits"]


def scene(draw: ExampleDraw, kind: SceneKind) -> Scene:
    """Draw a scene; its two roles are filled differently."""
    slots: dict[str, str] = {}
    for name, options in kind.slots.items():
        taken = [slots.get(role, "") for role in kind.swap]
        empty = name in OPTIONAL and draw.chance(LEFT_OUT.get(name, 0.5))
        slots[name] = "" if empty else draw.other(options, taken)
    return Scene(kind, slots)


def changed(draw: ExampleDraw, before: Scene, slot: str) -> str:
    """Return something else for a slot; an optional one may lose or gain its words."""
    current = before.slots[slot]
    if slot == "polarity" or (slot in OPTIONAL and current and draw.chance(0.5)):
        return "" if current else "not"
    return draw.other(before.kind.slots[slot], before.slots.values())


def edited(draw: ExampleDraw, before: Scene, rate: float) -> tuple[Scene, int]:
    """Change each slot with probability `rate`; return the cost, in tenths of a point, as well."""
    slots, cost = dict(before.slots), 0
    for slot in before.slots:
        if draw.chance(rate):
            slots[slot] = changed(draw, before, slot)
            cost += costs()[slot]
    if before.kind.swap and draw.chance(rate):
        slots = exchanged(slots, before.kind.swap)
        cost += costs()["exchange"]
    return Scene(before.kind, slots), cost


# ---- Wordings -----------------------------------------------------------------------------
def worded(draw: ExampleDraw, told: Scene) -> dict[str, str]:
    """Choose a wording for each concept."""
    return {slot: draw.wording(concept) for slot, concept in told.slots.items()}


def reworded(
    draw: ExampleDraw, told: Scene, said: Mapping[str, str], rate: float
) -> tuple[dict[str, str], int]:
    """Word a scene as another was, but for synonyms taken at `rate`; return their cost as well."""
    again, cost = worded(draw, told), 0
    for slot, concept in told.slots.items():
        wordings = concept.split("/")
        if said[slot] not in wordings:
            continue
        synonyms = [wording for wording in wordings if wording != said[slot]]
        if synonyms and draw.chance(rate):
            again[slot], cost = draw.pick(synonyms), cost + costs()["synonym"]
        else:
            again[slot] = said[slot]
    return again, cost


def described(draw: ExampleDraw, frame: str, said: Mapping[str, str]) -> str:
    """Put a scene's words into a frame; the verb agrees with how many there are."""
    many = said.get("count", "a") != "a"
    verbs = {"be": "are", "was": "were"} if many else {"be": "is", "was": "was"}
    text = expand(draw, frame.replace("|n}", "|pl}" if many else "}"), {**said, **verbs})
    return tidy(text.strip(" ,"))


# ---- Pairs --------------------------------------------------------------------------------
class Pair(NamedTuple):
    """Two texts and how similar they are, 0 to 5."""

    texts: tuple[str, str]
    similarity: float


def scene_pair(draw: ExampleDraw, band: int) -> Pair:
    """Draw two descriptions whose similarity is in `band`: from 2.5 up to 3.4 in band 3."""
    if band == 0 and draw.chance(UNRELATED):
        return unrelated(draw)
    return draw.until(
        lambda: edit_pair(draw, 1 - band / 5.5), lambda pair: int(pair.similarity + 0.5) == band
    )


def unrelated(draw: ExampleDraw) -> Pair:
    """Draw two scenes of different kinds."""
    first = draw.pick(kinds())
    second = draw.pick([kind for kind in kinds() if kind.frames != first.frames])
    return Pair((_alone(draw, first), _alone(draw, second)), 0.0)


def _alone(draw: ExampleDraw, kind: SceneKind) -> str:
    said = worded(draw, scene(draw, kind))
    return described(draw, draw.production(kind.frames), said)


def edit_pair(draw: ExampleDraw, rate: float) -> Pair:
    """Draw a scene, edit it at `rate`, and describe both, in random order."""
    before = scene(draw, draw.pick(kinds()))
    after, edits = edited(draw, before, rate)
    said = worded(draw, before)
    again, synonyms = reworded(draw, after, said, SYNONYMS)
    frames = [draw.production(before.kind.frames)]
    frames.append(frames[0] if draw.chance(SAME_FRAME) else draw.production(before.kind.frames))
    cost = edits + synonyms + costs()["frame"] * (frames[0] != frames[1])
    texts = [described(draw, frames[0], said), described(draw, frames[1], again)]
    first, second = shuffled(draw.rng, texts)
    return Pair((first, second), max(0, FULL - cost) / 10)

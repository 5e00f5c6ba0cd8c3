"""Pairs of descriptions whose similarity, 0 to 5, follows from the edits between them.

A scene is a concept for each of its slots. Its second description is an edit of the first: each
slot that changes takes off what the slot is worth, the roles of two people exchanged or a "not"
much more than an adjective, and a synonym or another frame next to nothing. Costs are counted in
tenths of a point, so that sums are exact; `scenes.toml` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from minbert.sample.draw import Draw, shuffled
from minbert.sample.grammar import expand, tidy
from minbert.sample.lexicon import concepts, document

FULL = 50  # tenths
OPTIONAL = ("look", "trait", "place", "manner", "scale", "polarity", "weekday")
LEFT_OUT = {"polarity": 0.9, "weekday": 0.3}  # how often; half the time where nothing is said
BANDS = 6  # a similarity of 2.5 up to 3.4 is band 3
UNRELATED = 0.3  # of band 0: scenes of two kinds
SYNONYMS = 0.9  # of the words that have one
SAME_FRAME = 0.15


class Kind(NamedTuple):
    """One kind of scene: how it can be said, and what may fill its slots."""

    name: str
    frames: tuple[str, ...]
    slots: Mapping[str, tuple[str, ...]]
    swap: tuple[str, ...]


class Scene(NamedTuple):
    """What is described: a concept for each slot, "" in an optional one left out."""

    kind: Kind
    slots: Mapping[str, str]


class Edited(NamedTuple):
    """An edited scene and what the edits took off."""

    scene: Scene
    cost: int


@cache
def kinds() -> tuple[Kind, ...]:
    """Read the kinds of scene."""
    source = document("scenes.toml")
    return tuple(
        Kind(
            entry["name"],
            tuple(source["frames"][entry["frames"]]),
            {name: concepts(text) for name, text in entry["slots"].items()},
            tuple(entry.get("swap", ())),
        )
        for entry in source["scene"]
    )


@cache
def costs() -> Mapping[str, int]:
    """Return what a changed slot takes off, and what the other edits do, in tenths."""
    source = document("scenes.toml")
    return source["costs"] | source["edits"]


def scene(draw: Draw, kind: Kind) -> Scene:
    """Draw a scene; its two roles are filled differently."""
    slots: dict[str, str] = {}
    for name, options in kind.slots.items():
        taken = [slots.get(role, "") for role in kind.swap]
        empty = name in OPTIONAL and draw.chance(LEFT_OUT.get(name, 0.5))
        slots[name] = "" if empty else draw.other(options, taken)
    return Scene(kind, slots)


def changed(draw: Draw, before: Scene, slot: str) -> str:
    """Return something else for a slot; an optional one may lose or gain its words."""
    current = before.slots[slot]
    if slot == "polarity" or (slot in OPTIONAL and current and draw.chance(0.5)):
        return "" if current else "not"
    return draw.other(before.kind.slots[slot], before.slots.values())


def edited(draw: Draw, before: Scene, rate: float) -> Edited:
    """Change each slot with probability `rate`, and count what that costs."""
    slots, cost = dict(before.slots), 0
    for slot in before.slots:
        if draw.chance(rate):
            slots[slot] = changed(draw, before, slot)
            cost += costs()[slot]
    if before.kind.swap and draw.chance(rate):
        one, two = before.kind.swap
        slots[one], slots[two] = slots[two], slots[one]
        cost += costs()["exchange"]
    return Edited(Scene(before.kind, slots), cost)


# ---- Wordings -----------------------------------------------------------------------------
def worded(draw: Draw, told: Scene) -> dict[str, str]:
    """Choose a wording for each concept."""
    return {slot: draw.pick(concept.split("/")) for slot, concept in told.slots.items()}


def reworded(draw: Draw, told: Scene, said: Mapping[str, str], rate: float) -> Edited:
    """Word a scene with the words of another; take a synonym for some, and count them."""
    words, cost = worded(draw, told), 0
    for slot, concept in told.slots.items():
        if said[slot] not in concept.split("/"):
            continue
        others = [wording for wording in concept.split("/") if wording != said[slot]]
        if others and draw.chance(rate):
            words[slot], cost = draw.pick(others), cost + costs()["synonym"]
        else:
            words[slot] = said[slot]
    return Edited(Scene(told.kind, words), cost)


def described(draw: Draw, frame: str, said: Mapping[str, str]) -> str:
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


def scene_pair(draw: Draw, band: int) -> Pair:
    """Draw two descriptions whose similarity rounds to `band`."""
    if band == 0 and draw.chance(UNRELATED):
        return unrelated(draw)
    return draw.until(lambda: edit_pair(draw, 1 - band / 5.5), lambda pair: _band(pair) == band)


def _band(pair: Pair) -> int:
    return int(pair.similarity + 0.5)


def unrelated(draw: Draw) -> Pair:
    """Draw two scenes of different kinds."""
    first = draw.pick(kinds())
    second = draw.pick([kind for kind in kinds() if kind.frames != first.frames])
    one, two = (_alone(draw, kind) for kind in (first, second))
    return Pair((one, two), 0.0)


def _alone(draw: Draw, kind: Kind) -> str:
    said = worded(draw, scene(draw, kind))
    return described(draw, draw.production(kind.frames), said)


def edit_pair(draw: Draw, rate: float) -> Pair:
    """Draw a scene, edit it at `rate`, and describe both, in random order."""
    before = scene(draw, draw.pick(kinds()))
    after = edited(draw, before, rate)
    said = worded(draw, before)
    again = reworded(draw, after.scene, said, SYNONYMS)
    frames = [draw.production(before.kind.frames)]
    frames.append(frames[0] if draw.chance(SAME_FRAME) else draw.production(before.kind.frames))
    cost = after.cost + again.cost + costs()["frame"] * (frames[0] != frames[1])
    texts = [
        described(draw, frame, words)
        for frame, words in zip(frames, (said, again.scene.slots), strict=True)
    ]
    one, two = shuffled(draw.rng, texts)
    return Pair((one, two), max(0, FULL - cost) / 10)

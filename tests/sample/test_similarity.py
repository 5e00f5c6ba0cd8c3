"""Scenes, their edits and what those cost."""

from __future__ import annotations

import re
from random import Random

import pytest

from minbert.sample import similarity
from minbert.sample.draw import ExampleDraw
from minbert.sample.lexicon import document, lists
from minbert.sample.similarity import (
    FULL,
    Scene,
    SceneKind,
    costs,
    described,
    edit_pair,
    edited,
    kinds,
    reworded,
    scene,
    scene_pair,
    unrelated,
    worded,
)

BY_NAME = {kind.name: kind for kind in kinds()}


def make(kind: str, **slots: str) -> Scene:
    return Scene(BY_NAME[kind], {name: slots.get(name, "") for name in BY_NAME[kind].slots})


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.name)
def test_frames_say_every_slot_and_no_other(kind: SceneKind) -> None:
    for frame in kind.frames:
        slots = set(re.findall(r"\{(\w+)", frame)) - {"be", "was"}
        assert slots == kind.slots.keys(), frame
    assert kind.slots.keys() <= costs().keys()
    assert any(frame.startswith("*") for frame in kind.frames)


def test_slot_names_are_no_lists_by_accident() -> None:
    """A verb list may not have an entry that is the name of a word list."""
    for entry in document("scenes.toml")["scene"]:
        verbs = {verb.strip() for verb in entry["slots"]["verb"].split(",")} - {
            "announced", "striking", "halting", "hurt_people",
        }  # fmt: skip
        assert not verbs & lists().keys()


@pytest.mark.parametrize("seed", range(8))
def test_no_edit_costs_nothing_and_each_edit_its_price(seed: int) -> None:
    draw = ExampleDraw(Random(seed))
    before = scene(draw, draw.pick(kinds()))
    assert edited(draw, before, rate=0.0) == (before, 0)
    after, cost = edited(draw, before, rate=1.0)
    exchanged = costs()["exchange"] if before.kind.swap else 0
    assert cost == exchanged + sum(costs()[slot] for slot in before.slots)
    kept = [slot for slot in before.slots if after.slots[slot] == before.slots[slot]]
    assert kept == []


def test_small_words_cost_more_than_adjectives() -> None:
    assert costs()["polarity"] > costs()["look"] * 4
    assert costs()["exchange"] > costs()["place"] * 2
    assert costs()["synonym"] < min(
        costs()[slot] for slot in costs() if slot not in document("scenes.toml")["edits"]
    )


def test_a_swap_exchanges_the_roles() -> None:
    before = make("people", count="a", one="monk", two="baker", verb="thank")
    for seed in range(200):
        after, cost = edited(ExampleDraw(Random(seed)), before, rate=0.1)
        if cost == costs()["exchange"]:
            assert (after.slots["one"], after.slots["two"]) == ("baker", "monk")
            return
    raise AssertionError("no swap alone among 200 edits")


def test_synonyms_are_counted() -> None:
    told = make("kitchen", count="a", figure="man/guy", verb="slice/cut", object="fish")
    said = {**told.slots, "figure": "man", "verb": "slice"}
    draw = ExampleDraw(Random(0))
    same, cost = reworded(draw, told, said, rate=0.0)
    assert same == said and cost == 0
    other, cost = reworded(draw, told, said, rate=1.0)
    assert (other["figure"], other["verb"]) == ("guy", "cut")
    assert cost == 2 * costs()["synonym"]
    assert worded(draw, told)["figure"] in ("man", "guy")


def test_descriptions_agree() -> None:
    draw = ExampleDraw(Random(0))
    said = dict(make("kitchen", count="a", figure="angler", verb="cut", object="apple").slots)
    active, passive = BY_NAME["kitchen"].frames[0], BY_NAME["kitchen"].frames[2]
    assert described(draw, active, said) == "An angler is cutting an apple"
    many = {**said, "count": "two", "polarity": "not", "place": "in a park"}
    assert described(draw, active, many) == "Two anglers are not cutting an apple in a park"
    assert described(draw, passive, many) == "An apple is not being cut by two anglers in a park"
    front = next(frame for frame in BY_NAME["kitchen"].frames if frame.startswith("{place}"))
    assert described(draw, front, said) == "An angler is cutting an apple"
    news = make("accidents", count="two", event="flood", verb="damage", victim="farm", city="Riga")
    assert described(draw, news.kind.frames[2], news.slots) == (
        "Two farms near Riga were damaged by a flood"
    )


@pytest.mark.parametrize("band", range(FULL // 10 + 1))
def test_pairs_of_a_band(band: int) -> None:
    for seed in range(15):
        pair = scene_pair(ExampleDraw(Random(seed)), band)
        assert int(pair.similarity + 0.5) == band
        assert not re.search(r"[{}/|]", " ".join(pair.texts)), pair


def test_unedited_and_unrelated_pairs() -> None:
    for seed in range(15):
        highest = edit_pair(ExampleDraw(Random(seed)), rate=0.0)
        most = FULL - costs()["frame"] - costs()["synonym"] * 8
        assert most / 10 <= highest.similarity <= FULL / 10
        assert unrelated(ExampleDraw(Random(seed))).similarity == 0.0


def test_optional_slots_come_and_go() -> None:
    before = make("kitchen", count="a", figure="monk", verb="eat", object="pear", look="tall")
    looks = {similarity.changed(ExampleDraw(Random(seed)), before, "look") for seed in range(60)}
    assert "" in looks and "tall" not in looks and len(looks) > 5
    assert similarity.changed(ExampleDraw(Random(0)), before, "polarity") == "not"

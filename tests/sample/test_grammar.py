"""Productions expand into tidy sentences, and recursion ends."""

from __future__ import annotations

import re
from random import Random

import pytest

from minbert.sample.draw import ExampleDraw
from minbert.sample.grammar import expand, flat, tidy
from minbert.sample.lexicon import document, lists


def test_slots_are_words_rules_or_bound() -> None:
    draw = ExampleDraw(Random(0))
    assert expand(draw, "{city}") in lists()["city"]
    assert expand(draw, "{do|ing} {what}", {"do": "mend the {what}/mend", "what": "x"}) in (
        "mending the x x",
        "mending x",
    )
    with pytest.raises(KeyError):
        expand(draw, "{nothing_of_the_kind}")


def test_a_verb_phrase_is_inflected_after_it_is_expanded() -> None:
    draw = ExampleDraw(Random(0))
    for _ in range(200):
        said = expand(draw, "she {deed|s} .")
        assert re.match(r"she (\w+s|must) ", said), said


def test_recursion_nests_and_ends() -> None:
    lengths = []
    for seed in range(300):
        draw = ExampleDraw(Random(seed))
        lengths.append(expand(draw, "{person_np} {deed|s}").count(" who "))
    assert max(lengths) >= 2  # a relative clause inside a relative clause
    assert min(lengths) == 0


def test_rules_that_recur_have_productions_that_end_the_nesting() -> None:
    for name in ("person_np", "valuable_np", "building_np", "deed"):
        assert len([text for text in flat(name) if not text.startswith("*")]) >= 2, name
    assert "find {valuable_np}" not in flat("deed") and "train for a {contest}" in flat("deed")


def test_every_slot_of_every_rule_has_something_to_fill_it() -> None:
    rules = document("grammar.toml")
    for name, productions in rules.items():
        for slot in re.findall(r"\{(\w+)", " ".join(productions)):
            assert slot in rules or slot in lists(), (name, slot)


def test_the_kind_of_film_is_settled_once() -> None:
    said = expand(ExampleDraw(Random(3)), "{genre}/{genre}/{genre}").split("/")
    assert len(set(said)) == 1


def test_tidy() -> None:
    assert tidy("a  owl , , saw   it , .") == "An owl , saw it ."
    assert tidy("a person , once a orphan , , left .") == "A person , once an orphan , left ."

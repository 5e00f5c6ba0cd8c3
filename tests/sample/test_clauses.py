"""Every clause says something, and its valence follows from its words."""

from __future__ import annotations

import re

import pytest

from minbert.sample import clauses
from minbert.sample.clauses import ADJECTIVE_PHRASES, CLAUSES, Production
from minbert.sample.lexicon import document, lists
from minbert.sample.sentiment import VALENCES
from tests.sample.phrases import check_says_something, drawn

EVERY = {name: make for rule in (ADJECTIVE_PHRASES, CLAUSES) for name, (_, make) in rule.items()}


def valence_of(text: str, section: str = "adjective") -> int:
    """The valence of the word of a graded list that `text` ends in."""
    found = [
        (len(word), value)
        for level, value in VALENCES.items()
        for word in lists()[f"{section}_{level}"]
        if text.endswith(f" {word}")
    ]
    return max(found)[1]


def test_every_frame_has_a_slot_for_what_is_said_or_none() -> None:
    for name, choice in document("frames.toml").items():
        frames = [choice] if isinstance(choice, str) else choice
        plain = [frame for frame in frames if not frame.startswith("*")]
        assert len(plain) >= 1, name
        placed = {bool(re.search(r"\{(said|aside|main)\b", frame)) for frame in frames}
        assert len(placed) == 1, name  # all frames of a rule
        for slot in re.findall(r"\{(\w+)", " ".join(frames)):
            assert slot in ("said", "aside", "main") or slot in lists(), (name, slot)


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
def test_every_production_says_something(make: Production) -> None:
    check_says_something(make)


def test_a_negation_shifts_what_it_negates() -> None:
    for phrase in drawn(EVERY["negated copula"]):
        word = valence_of(phrase.text)
        assert word and phrase.valence == pytest.approx(word - 1.8 * (1 if word > 0 else -1))


def test_what_could_have_been_is_not() -> None:
    for phrase in drawn(EVERY["unrealised"]):
        assert phrase.valence * valence_of(phrase.text) < 0


def test_a_comparison_ignores_what_the_other_was_like() -> None:
    better = lists()["better"]
    for phrase in drawn(clauses.compared):
        comparative = phrase.text.split(" is ")[1].removeprefix("far ").split(" than ")[0]
        assert (phrase.valence > 0) == (comparative in better)


def test_a_verdict_is_worth_its_noun() -> None:
    for phrase in drawn(EVERY["verdict"]):
        assert phrase.valence == valence_of(phrase.text, "verdict")


def test_every_bit_as_and_not_nearly_as() -> None:
    for phrase in drawn(clauses.equalled):
        word = phrase.text.split(" than " if " less " in phrase.text else " as that ")[0]
        same = "every bit as" in phrase.text
        assert phrase.valence * valence_of(word.removesuffix(" as")) * (1 if same else -1) > 0


def test_an_if_weighs_the_first_adjective_more() -> None:
    for phrase in drawn(clauses.twofold):
        first, link, second = phrase.text.rpartition(" and ")
        if link:
            assert valence_of(f" {first}") * valence_of(f" {second}") > 0
            assert phrase.valence * valence_of(f" {first}") > 0

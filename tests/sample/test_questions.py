"""Questions: one meaning in many wordings, and no wording of two meanings."""

from __future__ import annotations

import re
from random import Random

import pytest

from minbert.sample import questions
from minbert.sample.draw import ExampleDraw
from minbert.sample.lexicon import document, lists
from minbert.sample.questions import (
    AskedQuestion,
    Topic,
    Wording,
    framed,
    kept_wording,
    meanings,
    mentioned,
    question,
    question_pair,
    spelled,
    topics,
    worded,
)

BY_NAME = {topic.name: topic for topic in topics()}


def plain(draw: ExampleDraw, asked: AskedQuestion) -> str:
    """A wording without what is polite."""
    text = spelled(draw, worded(draw, asked))
    for opening in document("questions.toml")["openings"]:
        text = text.removeprefix(opening.removeprefix("*"))
    return text[:1].upper() + text[1:]


def make(topic: str, intent: str, **slots: str) -> AskedQuestion:
    names = BY_NAME[topic].slots
    return AskedQuestion(BY_NAME[topic], intent, {name: slots.get(name, "") for name in names})


@pytest.mark.parametrize("topic", topics(), ids=lambda topic: topic.name)
def test_every_intent_has_several_wordings_with_the_same_slots(topic: Topic) -> None:
    for intent, wordings in topic.intents.items():
        assert len([text for text in wordings if not text.startswith("*")]) >= 2, intent
        slots = [set(re.findall(r"\{(\w+)", text)) for text in wordings]
        assert all(found == slots[0] for found in slots), (intent, slots)
        assert slots[0] <= topic.slots.keys()
    assert set(topic.symmetric) <= topic.intents.keys()
    assert set(topic.swap) <= topic.slots.keys() and len(topic.swap) in (0, 2)


def test_no_text_has_two_meanings() -> None:
    said: dict[str, tuple[str, ...]] = {}
    for seed in range(4000):
        draw = ExampleDraw(Random(seed), novel=seed % 2 == 0)
        asked = question(draw, draw.pick(topics()))
        for near in (asked, questions.different(draw, asked)):
            assert said.setdefault(plain(draw, near), near.meaning) == near.meaning


@pytest.mark.parametrize("topic", topics(), ids=lambda topic: topic.name)
def test_intents_and_roles_are_told_apart(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "OPENED", 0.0)
    draw = ExampleDraw(Random(0))
    asked = question(draw, topic)
    said: dict[str, tuple[str, ...]] = {}
    for intent, wordings in topic.intents.items():
        one = asked._replace(intent=intent)
        for each in (one, questions.swapped(draw, one)) if topic.swap else (one,):
            words = worded(draw, each).said
            for production in wordings:
                text = spelled(draw, Wording(production.removeprefix("*"), words))
                assert said.setdefault(text.lower(), each.meaning) == each.meaning, text
    assert len(said) > len(topic.intents)


def test_synonyms_and_frames_keep_the_meaning() -> None:
    asked = make("machines", "how", do="repair a {object}/fix a {object}", object="kettle")
    said = {plain(ExampleDraw(Random(seed), novel=True), asked) for seed in range(200)}
    assert {"How do I fix a kettle?", "What is the right way of repairing a kettle?"} <= said
    assert "How would you go about fixing a kettle?" in said  # held out
    familiar = {plain(ExampleDraw(Random(seed)), asked) for seed in range(200)}
    assert familiar < said


def test_the_passive_exchanges_the_words_and_not_the_roles() -> None:
    asked = make("causes", "does", verb="cause/bring about", one="stress", two="insomnia")
    said = {plain(ExampleDraw(Random(seed)), asked) for seed in range(100)}
    assert {"Can stress cause insomnia?", "Can insomnia be caused by stress?"} <= said


def test_roles_matter_unless_the_question_is_symmetric() -> None:
    draw = ExampleDraw(Random(0))
    larger = make("journeys", "larger", one="Riga", two="Cork")
    assert questions.swapped(draw, larger).meaning != larger.meaning
    far = make("journeys", "distance", one="Riga", two="Cork")
    assert questions.swapped(draw, far).meaning == far.meaning
    said = {plain(ExampleDraw(Random(seed)), far) for seed in range(100)}
    assert {"How far is it from Riga to Cork?", "How far is it from Cork to Riga?"} <= said


def test_slots_that_an_intent_does_not_mention_mean_nothing() -> None:
    topic = BY_NAME["journeys"]
    assert mentioned(topic, "larger") == ("one", "two")
    assert mentioned(topic, "route") == ("one", "two", "means")
    assert mentioned(BY_NAME["machines"], "how") == ("do", "object", "context")
    walk, ride = (
        make("journeys", "larger", one="Riga", two="Cork", means=m) for m in ("on foot", "by car")
    )
    assert walk.meaning == ride.meaning


@pytest.mark.parametrize("change", [*dict.fromkeys(questions.CHANGES), questions.different])
def test_changes_are_small(change) -> None:
    differing = 0
    for seed in range(60):
        draw = ExampleDraw(Random(seed))
        before = question(draw, draw.pick(topics()))
        after = change(draw, before)
        assert after.topic is before.topic
        same = [before.slots[slot] == after.slots[slot] for slot in before.slots]
        assert same.count(False) <= 2
        assert all(same) or after.intent == before.intent
        differing += before.meaning != after.meaning
    assert differing > 40
    assert differing == 60 or change is not questions.different


def test_a_scope_comes_and_goes() -> None:
    draw = ExampleDraw(Random(0))
    wide = make("mishaps", "danger", act="shave")
    narrow = questions.rescoped(draw, wide)
    assert narrow.slots["who"] and questions.rescoped(draw, narrow).slots == wide.slots
    bare = make("inventions", "who", thing="compass")
    assert questions.rescoped(draw, bare).slots["thing"] in lists()["invention"]


def test_a_kept_wording_differs_in_the_change_alone() -> None:
    draw = ExampleDraw(Random(1))
    first = make("inventions", "who", thing="compass")
    second = make("inventions", "who", thing="saddle")
    spoken = worded(draw, first)
    other = kept_wording(draw, first, spoken, second)
    assert other.production == spoken.production and other.said == {"thing": "saddle"}
    third = make("inventions", "when", thing="compass")
    assert kept_wording(draw, first, spoken, third).said == spoken.said


def test_pairs_mean_the_same_only_where_they_should() -> None:
    easy = 0
    for seed in range(150):
        one, two = meanings(ExampleDraw(Random(seed)), 1)
        assert one.meaning == two.meaning
        one, two = meanings(ExampleDraw(Random(seed)), 0)
        assert one.meaning != two.meaning
        easy += one.topic is not two.topic
        texts = question_pair(ExampleDraw(Random(seed)), seed % 2)
        assert len(set(texts)) == 2 and all(text.endswith("?") or "?" in text for text in texts)
    assert 0 < easy < 75


def test_what_is_polite_goes_before() -> None:
    assert framed("Quick question: ", "How far is it?") == "Quick question: how far is it?"
    assert framed("Help! ", "How far is it?") == "Help! How far is it?"
    assert framed("Please tell me: ", "I am in Riga.") == "Please tell me: I am in Riga."

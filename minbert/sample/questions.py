"""Pairs of questions that mean the same, or differ in one point that matters.

A question is a topic, an intent, and a concept for each slot, put into words. Two wordings of one
meaning are paraphrases: synonyms, active and passive, nouns made of verbs, another form of
question, clauses in another order, something polite around it. Other pairs change the meaning in
one place and keep most of the words: another entity, number or place, the two roles exchanged, a
narrower scope, another intent. So counting the words that two questions share tells little.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from minbert.sample.draw import ExampleDraw, exchanged, shuffled
from minbert.sample.grammar import expand, tidy
from minbert.sample.lexicon import concepts, document

EASY = 0.8  # of the negatives: they merely share a topic, or not even that
LEFT_OUT = 0.55  # of the optional slots
OPENED = 0.1  # of the questions
SYNONYMS_ALONE = 0.25  # of the paraphrases with synonyms: they keep the production
SAME_WORDING = 0.4  # of the negatives of one topic: they keep the wording of what they share


@dataclass(frozen=True, eq=False)
class Topic:
    """A topic to ask about: the wordings of each intent, and what may fill each slot."""

    name: str
    intents: Mapping[str, tuple[str, ...]]
    slots: Mapping[str, tuple[str, ...]]
    optional: str
    swap: tuple[str, ...]
    symmetric: tuple[str, ...]


class AskedQuestion(NamedTuple):
    """A question before it is worded: an intent and a concept for each slot, "" if left out."""

    topic: Topic
    intent: str
    slots: Mapping[str, str]

    @property
    def meaning(self) -> tuple[str, ...]:
        """The meaning, which two paraphrases share, and no other question has."""
        slots = dict(self.slots)
        if self.intent in self.topic.symmetric:
            first, second = self.topic.swap
            slots[first], slots[second] = sorted((slots[first], slots[second]))
        spoken = (slots[slot] for slot in mentioned(self.topic, self.intent))
        return (self.topic.name, self.intent, *spoken)


@cache
def mentioned(topic: Topic, intent: str) -> tuple[str, ...]:
    """Return the slots that an intent's wordings speak of; others do not change the meaning."""
    text = " ".join((topic.intents[intent][0], *(entries[0] for entries in topic.slots.values())))
    return tuple(slot for slot in topic.slots if re.search(rf"\{{{slot}\b", text))


@cache
def topics() -> tuple[Topic, ...]:
    """Read the topics."""
    source = document("questions.toml")
    return tuple(_topic(entry, source["intents"]) for entry in source["topic"])


def _topic(entry: Mapping[str, Any], common: Mapping[str, list[str]]) -> Topic:
    slots = {name: concepts(text) for name, text in entry["slots"].items() if name != "optional"}
    intents = {name: tuple(common[name]) for name in entry.get("common", ())}
    intents |= {name: tuple(texts) for name, texts in entry.get("intents", {}).items()}
    optional = entry["slots"].get("optional", "context")
    swap, symmetric = tuple(entry.get("swap", ())), tuple(entry.get("symmetric", ()))
    return Topic(entry["name"], intents, slots, optional, swap, symmetric)


# ---- Meanings -----------------------------------------------------------------------------
def question(draw: ExampleDraw, topic: Topic) -> AskedQuestion:
    """Draw a question; the two roles of a topic are never filled alike."""
    intent, slots = draw.pick(tuple(topic.intents)), dict[str, str]()
    for name, options in topic.slots.items():
        idle = name not in mentioned(topic, intent)
        empty = name == topic.optional and (idle or draw.chance(LEFT_OUT))
        taken = [slots.get(role, "") for role in topic.swap]
        slots[name] = "" if empty else draw.other(options, taken)
    return AskedQuestion(topic, intent, slots)


def other_word(draw: ExampleDraw, asked: AskedQuestion) -> AskedQuestion:
    """Change one slot that is filled: an entity, a number, a place, what is done."""
    slot = draw.pick([slot for slot, concept in asked.slots.items() if concept])
    concept = draw.other(asked.topic.slots[slot], asked.slots.values())
    return asked._replace(slots={**asked.slots, slot: concept})


def other_intent(draw: ExampleDraw, asked: AskedQuestion) -> AskedQuestion:
    """Ask something else about the same thing: why not instead of why, when instead of how."""
    intents = tuple(intent for intent in asked.topic.intents if intent != asked.intent)
    return asked._replace(intent=draw.pick(intents))


def swapped(draw: ExampleDraw, asked: AskedQuestion) -> AskedQuestion:
    """Exchange the two roles; without roles, change a word."""
    if not asked.topic.swap:
        return other_word(draw, asked)
    return asked._replace(slots=exchanged(asked.slots, asked.topic.swap))


def rescoped(draw: ExampleDraw, asked: AskedQuestion) -> AskedQuestion:
    """Make the question narrower by a condition, or wider by one less."""
    slot = asked.topic.optional
    if slot not in asked.slots:
        return other_word(draw, asked)
    concept = "" if asked.slots[slot] else draw.word(asked.topic.slots[slot])
    return asked._replace(slots={**asked.slots, slot: concept})


CHANGES = (other_word, other_word, other_intent, swapped, swapped, rescoped)


def different(draw: ExampleDraw, asked: AskedQuestion) -> AskedQuestion:
    """Draw a question close to `asked` that means something else."""
    return draw.until(
        lambda: draw.pick(CHANGES)(draw, asked), lambda made: made.meaning != asked.meaning
    )


# ---- Wordings -----------------------------------------------------------------------------
class Wording(NamedTuple):
    """A way to say a question: a production, and a wording of each concept."""

    production: str
    said: Mapping[str, str]


def worded(draw: ExampleDraw, asked: AskedQuestion) -> Wording:
    """Choose a wording; in a symmetric question the roles may change places."""
    said = {slot: draw.wording(concept) for slot, concept in asked.slots.items()}
    if asked.intent in asked.topic.symmetric and draw.chance(0.5):
        said = exchanged(said, asked.topic.swap)
    return Wording(draw.production(asked.topic.intents[asked.intent]), said)


def kept_wording(
    draw: ExampleDraw, first: AskedQuestion, spoken: Wording, second: AskedQuestion
) -> Wording:
    """Word `second` as `first` was, wherever the two mean the same."""
    said = {
        slot: spoken.said[slot] if concept == first.slots[slot] else draw.wording(concept)
        for slot, concept in second.slots.items()
    }
    if first.intent == second.intent:
        return Wording(spoken.production, said)
    return Wording(draw.production(second.topic.intents[second.intent]), said)


def spelled(draw: ExampleDraw, wording: Wording) -> str:
    """Write a question out, now and then with something polite before it."""
    text = expand(draw, wording.production, wording.said)
    text = tidy(text.replace(" ?", "?").replace(" .", ".").replace(" ,", ","))
    if not draw.chance(OPENED):
        return text
    return framed(draw.production(document("questions.toml")["openings"]), text)


def framed(opening: str, text: str) -> str:
    """Put an opening before a question, which begins with a small letter unless with "I"."""
    sentence = opening.endswith(("! ", "? ")) or text.startswith("I ")
    return opening + (text if sentence else text[:1].lower() + text[1:])


# ---- Pairs --------------------------------------------------------------------------------
def question_pair(draw: ExampleDraw, duplicate: int) -> tuple[str, str]:
    """Draw two questions with one meaning (1), or with two (0), in random order."""
    first, second = meanings(draw, duplicate)
    spoken = worded(draw, first)
    if duplicate:
        other = paraphrased(draw, first, spoken)
    elif first.topic is second.topic and draw.chance(SAME_WORDING):
        other = kept_wording(draw, first, spoken, second)
    else:
        other = worded(draw, second)
    texts = shuffled(draw.rng, [spelled(draw, spoken), spelled(draw, other)])
    return texts[0], texts[1]


def paraphrased(draw: ExampleDraw, asked: AskedQuestion, spoken: Wording) -> Wording:
    """Word a question anew: mostly another production, at times synonyms in the same one."""
    other = draw.until(
        lambda: worded(draw, asked), lambda made: made.production != spoken.production
    )
    if other.said != spoken.said and draw.chance(SYNONYMS_ALONE):
        return other._replace(production=spoken.production)
    return other


def meanings(draw: ExampleDraw, duplicate: int) -> tuple[AskedQuestion, AskedQuestion]:
    """Draw one question twice, or two that differ: mostly in one point, at times in all."""
    first = question(draw, draw.pick(topics()))
    if duplicate:
        return first, first
    if not draw.chance(EASY):
        return first, different(draw, first)
    topic = first.topic if draw.chance(0.6) else draw.pick(topics())
    second = draw.until(lambda: question(draw, topic), lambda made: made.meaning != first.meaning)
    return first, second

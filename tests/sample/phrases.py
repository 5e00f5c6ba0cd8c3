"""What the tests of clauses and of sentences share: phrases drawn, and what all of them must be."""

from __future__ import annotations

from random import Random

from minbert.sample.clauses import Production
from minbert.sample.draw import ExampleDraw
from minbert.sample.sentiment import Phrase


def drawn(make: Production, count: int = 60) -> list[Phrase]:
    return [make(ExampleDraw(Random(seed), novel=seed % 2 == 1)) for seed in range(count)]


def check_says_something(make: Production) -> None:
    """Phrases differ, their valences are in range, and no slot or gap is left."""
    phrases = drawn(make)
    assert len({phrase.text for phrase in phrases}) > 20
    assert all(-2 <= phrase.valence <= 2 for phrase in phrases)
    assert not any("{" in phrase.text or "  " in phrase.text for phrase in phrases)

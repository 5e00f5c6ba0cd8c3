"""Expand productions into sentences: a context-free grammar whose rules are data.

A production is text with slots. `{person}` stands for a word of that list, `{deed}` for an
expansion of that rule, and either may ask for a form: `{deed|s}` puts its verb into the third
person. A slot may also be bound beforehand, to one concept in several wordings ("repair/fix"); a
wording may have slots of its own.
"""

import re
from collections.abc import Mapping
from functools import cache

from minbert.sample.draw import ExampleDraw
from minbert.sample.inflection import inflected, with_articles
from minbert.sample.lexicon import document, lists

_SLOT = re.compile(r"\{(\w+)(?:\|(\w+))?\}")
_DEEPEST = 3  # rules inside rules; below, a rule takes productions that call no other
ONCE = ("genre",)  # words that an example settles once: it is about one film
NOTHING: Mapping[str, str] = {}


def expand(draw: ExampleDraw, text: str, bound: Mapping[str, str] = NOTHING, depth: int = 0) -> str:
    """Fill every slot of `text`. Raises KeyError for a slot that names no list and no rule."""

    def fill(match: re.Match[str]) -> str:
        symbol, form = match.groups()
        return inflected(_filling(draw, symbol, bound, depth + 1), form)

    return _SLOT.sub(fill, text)


def _filling(draw: ExampleDraw, symbol: str, bound: Mapping[str, str], depth: int) -> str:
    if symbol in bound:
        return expand(draw, draw.wording(bound[symbol]), bound, depth)
    if symbol in ONCE:
        return draw.once(symbol, lists()[symbol])
    rules = document("grammar.toml")
    if symbol not in rules:
        return draw.word(lists()[symbol])
    productions = rules[symbol] if depth <= _DEEPEST else flat(symbol)
    return expand(draw, draw.production(productions), bound, depth)


@cache
def flat(rule: str) -> tuple[str, ...]:
    """Return a rule's productions that call no rule."""
    rules = document("grammar.toml")
    return tuple(
        text for text in rules[rule] if not any(slot in rules for slot, _ in _SLOT.findall(text))
    )


def tidy(text: str) -> str:
    """Close gaps and doubled commas, mend articles, and start with a capital."""
    text = re.sub(r"(,\s*)+(?=[,.;?])", "", " ".join(text.split()))
    text = with_articles(text)
    return text[:1].upper() + text[1:]

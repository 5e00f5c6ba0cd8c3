"""The word lists, and the choice of words that are kept for dev and test.

A list is text between commas in `words/*.toml`, found by its name. An entry is a word, a phrase, or
one concept in several wordings ("repair/fix").

Held-out words: a word is held out by a hash of its first letters, so that its other forms and most
of its relatives (paint, painter, painting) go with it, whichever list they stand in. An entry with
one such word is held out as a whole. The words that productions spell out are never held out.
"""

import hashlib
import itertools
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

HELD_SHARE = 16  # of every 100 beginnings of words
BEGINNING = 5  # letters


@cache
def document(path: str) -> dict[str, Any]:
    """Read one of the package's TOML files."""
    return tomllib.loads(resources.files("minbert.sample").joinpath(path).read_text("utf-8"))


def items(text: str) -> tuple[str, ...]:
    """Split a list at its commas."""
    return tuple(" ".join(item.split()) for item in text.split(","))


def table(file: str, section: str, key: str = "forms") -> list[tuple[str, ...]]:
    """Read a list whose entries are rows of words: (break, broke, broken)."""
    return [tuple(row.split()) for row in items(document(f"words/{file}.toml")[section][key])]


@cache
def lists() -> Mapping[str, tuple[str, ...]]:
    """Return every word list by its name. Raises ValueError where two have the same name."""
    by_name: dict[str, tuple[str, ...]] = {}
    for file in ("film", "people", "places", "plots", "things", "deeds", "facts"):
        for section in document(f"words/{file}.toml").values():
            for name, text in section.items():
                if name in by_name:
                    raise ValueError(f"two word lists are called {name}")
                by_name[name] = items(text)
    return by_name


def concepts(text: str) -> tuple[str, ...]:
    """Split a list at its commas; an item that is the name of a list stands for its entries."""
    return tuple(entry for item in items(text) for entry in lists().get(item, (item,)))


@cache
def held_out(entry: str) -> bool:
    """Return whether an entry has a word that is kept for dev and test."""
    return any(held_word(word) for word in lemmas(entry))


def lemmas(entry: str) -> list[str]:
    """Return an entry's words in small letters, slots apart."""
    return re.findall(r"[a-z]+", re.sub(r"\{\w+\}", " ", entry.lower()))


@cache
def divided(entries: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split a list into the entries that train may use and those held out."""
    return tuple(itertools.filterfalse(held_out, entries)), tuple(filter(held_out, entries))


@cache
def held_word(word: str) -> bool:
    """Return whether a word is kept for dev and test."""
    if len(word) < 3 or word in _never_held():
        return False
    digest = hashlib.sha256(word[:BEGINNING].encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < HELD_SHARE


@cache
def _never_held() -> frozenset[str]:
    return frozenset(document("words/common.toml")["words"].split())

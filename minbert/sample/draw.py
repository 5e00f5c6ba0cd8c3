"""The random choices of one example, which remember what they took from lists and rules.

Only `Random.random` is used: it is the one method Python promises to keep stable from version to
version, so a seed names the same bytes everywhere.

An example is *familiar* or *novel*. A familiar one is made of what train has; a novel one also
takes from the words and productions that are held out, which only dev and test may do.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from random import Random
from typing import TypeVar

from minbert.sample.lexicon import divided, held_out

T = TypeVar("T")
HELD_CHANCE = 0.4  # that a choice inside a novel example takes something held out
RETRIES = 5  # draws before an item that was taken already is taken again


class ExampleDraw:
    """The choices for one example. A novel one may take words and productions held out."""

    def __init__(self, rng: Random, novel: bool = False) -> None:
        self.rng, self.novel = rng, novel
        self.settled: dict[str, str] = {}  # what is drawn once for the whole example
        self.entries: list[str] = []  # taken from word lists
        self.productions: list[str] = []  # taken from rules

    @property
    def held(self) -> list[str]:
        """The entries and productions taken that are kept for dev and test."""
        starred = [text for text in self.productions if text.startswith("*")]
        return [*filter(held_out, self.entries), *starred]

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.rng.random() < probability

    def pick(self, items: Sequence[T]) -> T:
        """Return one of `items`, each equally likely."""
        return items[int(self.rng.random() * len(items))]

    def word(self, entries: tuple[str, ...]) -> str:
        """Return an entry of a word list, if possible one that was not taken before."""
        entry = self._new(*divided(entries), self.entries)
        self.entries.append(entry)
        return entry

    def wording(self, concept: str) -> str:
        """Return one wording of a concept such as "repair/fix", each equally likely."""
        return self.pick(concept.split("/"))

    def other(self, entries: tuple[str, ...], taken: Iterable[str]) -> str:
        """Return an entry that shares no wording with any of those taken."""
        wordings = {wording for concept in taken for wording in concept.split("/")}
        return self.until(
            lambda: self.word(entries), lambda entry: wordings.isdisjoint(entry.split("/"))
        )

    def once(self, name: str, entries: tuple[str, ...]) -> str:
        """Return an entry that stays the same for the whole example."""
        if name not in self.settled:
            self.settled[name] = self.word(entries)
        return self.settled[name]

    def production(self, options: Sequence[str]) -> str:
        """Return one of a rule's productions, without the star of one held out."""
        option = self._new(*_apart(tuple(options)), self.productions)
        self.productions.append(option)
        return option.removeprefix("*")

    def until(self, make: Callable[[], T], accept: Callable[[T], bool]) -> T:
        """Make something until it is accepted, and forget what the rejected ones took."""
        entries, productions = len(self.entries), len(self.productions)
        settled = dict(self.settled)
        while not accept(made := make()):
            del self.entries[entries:], self.productions[productions:]
            self.settled = dict(settled)
        return made

    def _new(self, kept: tuple[str, ...], held: tuple[str, ...], taken: Sequence[str]) -> str:
        for _ in range(RETRIES):
            novel = self.novel and held and self.chance(HELD_CHANCE)
            item = self.pick(held if novel or not kept else kept)
            if item not in taken:
                break
        return item


@cache
def _apart(options: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A rule's productions that are kept, and those with a star, which are held out."""
    kept = tuple(option for option in options if not option.startswith("*"))
    return kept, tuple(option for option in options if option.startswith("*"))


def shuffled(rng: Random, items: Iterable[T]) -> list[T]:
    """Return `items` in random order."""
    return sorted(items, key=lambda _: rng.random())


def exchanged(filled: Mapping[str, str], roles: Sequence[str]) -> dict[str, str]:
    """Return what fills the slots with the fillings of the two roles exchanged."""
    first, second = roles
    return {**filled, first: filled[second], second: filled[first]}


def quota(rng: Random, shares: Sequence[int], count: int) -> list[int]:
    """Return `count` labels in the proportions of `shares`, in random order."""
    ladder = [label for label, share in enumerate(shares) for _ in range(share)]
    return shuffled(rng, [ladder[i * len(ladder) // count] for i in range(count)])


def gaussian(rng: Random) -> float:
    """Draw from about a standard normal distribution: a sum of twelve uniform draws."""
    return sum(rng.random() for _ in range(12)) - 6.0

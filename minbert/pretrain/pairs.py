"""What student and teacher read of a batch: each sentence alone, and pairs of them together.

Of a row of two sentences comes a pair: these two; or one of them and itself, altered; or one of
them and any other of the batch. So the texts of a pair are alike in all degrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from minbert.pretrain.alignment import Reading, ReadRow, RowReader
from minbert.pretrain.sentences import Row

_FOLLOWING, _ALTERED = 0.4, 0.4  # shares of the pairs; the rest are of any two sentences
_DROPPED = 0.6  # the largest share of words that is left out
_LOOKED_AT = 1000  # letters of a sentence tell whether two tokenizers agree on its words


@dataclass(frozen=True)
class Reads:
    """`texts` as the teacher reads them, one at a time, and what the student reads."""

    texts: Sequence[ReadRow]
    readings: Sequence[Reading]
    whole: Reads | None = None  # of which this is a part

    @property
    def counts(self) -> tuple[int, int, int]:
        """Words that both read, sentences read alone, and pairs, in the whole batch."""
        if self.whole is not None:
            return self.whole.counts
        theirs = {(n, *place) for n, row in enumerate(self.texts) for _, *place in row.words}
        words = sum(place in theirs for reading in self.readings for place, _ in reading.words)
        alone = sum(len(reading.texts) == 1 for reading in self.readings)
        return words, alone, len(self.readings) - alone

    def part(self, which: slice) -> Reads:
        """Some of the readings, and the texts that they are of."""
        readings = self.readings[which]
        used = sorted({number for reading in readings for number in reading.texts})
        number_of = {number: place for place, number in enumerate(used)}
        renumbered = [
            replace(reading, texts=tuple(number_of[number] for number in reading.texts))
            for reading in readings
        ]
        return Reads([self.texts[number] for number in used], renumbered, self)


def read_rows(rows: Sequence[Row], student: RowReader, teacher: RowReader, seed: int) -> Reads:
    """The student reads every sentence, and the pair of each row of two; `seed` decides these."""
    sentences = [text for row in rows for text in row]
    others, pairs = _pairs(rows, sentences, np.random.default_rng(seed))
    texts = [*sentences, *others]
    alone = [(number,) for number in range(len(sentences))]
    numbers: list[tuple[int, ...]] = [*alone, *pairs]
    read = student.read([tuple(texts[number] for number in which) for which in numbers])
    readings = [Reading(*pair) for pair in zip(read, numbers, strict=True)]
    return Reads(teacher.read([(text,) for text in texts]), readings)


def agreement(sentences: Sequence[str], ours: RowReader, theirs: RowReader) -> float:
    """The share of the words, read by either, that both read; 0 where neither reads any.

    The readers' rows have room for all, so that no word is lost to one of them by its length.
    """
    rows = [(sentence[:_LOOKED_AT],) for sentence in sentences]
    first, second = (
        {(number, *place) for number, row in enumerate(reader.read(rows)) for place in row.words}
        for reader in (ours, theirs)
    )
    return len(first & second) / max(len(first | second), 1)


def _pairs(
    rows: Sequence[Row], sentences: Sequence[str], rng: np.random.Generator
) -> tuple[list[str], list[tuple[int, int]]]:
    """Altered sentences, numbered after the `sentences`, and pairs of numbers."""
    others: list[str] = []
    pairs: list[tuple[int, int]] = []
    first = 0
    for row in rows:
        if len(row) == 2:
            one, other = (first, first + 1) if rng.random() < 0.5 else (first + 1, first)
            kind = rng.random()
            if kind < _ALTERED:
                others.append(altered(sentences[one], sentences[other], rng))
                other = len(sentences) + len(others) - 1
            elif kind > _ALTERED + _FOLLOWING:
                other = int(rng.integers(len(sentences)))
            pairs.append((one, other) if rng.random() < 0.5 else (other, one))
        first += len(row)
    return others, pairs


def altered(text: str, other: str, rng: np.random.Generator) -> str:
    """`text` without some of its words, or with some of `other`'s in place of its own."""
    words, strange = text.split(), other.split()
    if rng.random() < 0.5 or not words or not strange:
        rate = rng.uniform(0, _DROPPED)
        return " ".join(word for word in words if rng.random() >= rate)
    size = int(rng.integers(1, min(len(words), len(strange)) + 1))
    at, source = (int(rng.integers(len(ws) - size + 1)) for ws in (words, strange))
    return " ".join([*words[:at], *strange[source : source + size], *words[at + size :]])

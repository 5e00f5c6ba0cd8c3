"""Rows of a fixed length from documents: pairs for next-sentence prediction, or full rows.

Dimensions: T tokens a row, special ones included.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from minbert.data.tokenizer import EncodedTexts

TokenIds = NDArray[np.int32]


@dataclass(frozen=True)
class Sentences:
    """Documents of tokenised sentences, without special tokens.

    Sentence i is `texts.ids[texts.starts[i]:texts.starts[i + 1]]`; document d has the sentences
    `documents[d]` to `documents[d + 1]`, excluded.
    """

    texts: EncodedTexts
    documents: NDArray[np.int64]

    def tokens(self, first: int, last: int, most: int) -> TokenIds:
        """The sentences `first` to `last`, excluded, end to end, cut to `most` tokens."""
        start = self.texts.starts[first]
        return self.texts.ids[start : min(self.texts.starts[last], start + most)]

    def first_from(self, offset: int) -> int:
        """The first sentence that begins at token `offset` or later."""
        return int(np.searchsorted(self.texts.starts, offset, side="left"))


@dataclass(frozen=True)
class PackedRow:
    """`[CLS] a [SEP] b [SEP]`, or `[CLS] a [SEP]`; token types are 1 from `b_start` on.

    `is_random` says that b is from another document than a. `document` is the number of a's
    document, None in a row without b.
    """

    tokens: TokenIds
    b_start: int
    is_random: bool
    document: int | None = None


@dataclass(frozen=True)
class Frame:
    """The special tokens around the text of a row, and the row's length T."""

    cls_id: int
    sep_id: int
    length: int

    def single(self, a: TokenIds) -> PackedRow:
        """The row `[CLS] a [SEP]`."""
        tokens = np.concatenate([[self.cls_id], a, [self.sep_id]]).astype(np.int32)
        return PackedRow(tokens, len(tokens), is_random=False)

    def pair(self, a: TokenIds, b: TokenIds, *, is_random: bool, document: int) -> PackedRow:
        """The row `[CLS] a [SEP] b [SEP]`."""
        first = self.single(a).tokens
        tokens = np.concatenate([first, b, [self.sep_id]]).astype(np.int32)
        return PackedRow(tokens, len(first), is_random, document)


def pair_rows(sentences: Sentences, frame: Frame, rng: np.random.Generator) -> Iterator[PackedRow]:
    """Rows for next-sentence prediction (Devlin et al. 2019, section 3.1 and appendix A.2).

    The text a is whole sentences, as many as reach a length drawn between a quarter and three
    quarters of the row. The text b is, half the time each, what follows a or a stretch of another
    document, cut so that the row is full. An a that nothing follows makes no row: the end of a
    document would give the answer away.
    """
    room = frame.length - 3
    shortest = room // 4
    bounds, starts = sentences.documents, sentences.texts.starts
    for number in range(len(bounds) - 1):
        at, last = int(bounds[number]), int(bounds[number + 1])
        while at < last:
            target = int(rng.integers(shortest, room - shortest + 1))
            end = max(at + 1, sentences.first_from(int(starts[at]) + target))
            if end >= last:
                break
            a = sentences.tokens(at, end, room - shortest)
            is_random = bool(rng.random() < 0.5)
            begin, stop = _elsewhere(bounds, number, rng) if is_random else (end, last)
            b = sentences.tokens(begin, stop, room - len(a))
            if len(a) and len(b):  # a sentence of control characters alone has no token
                yield frame.pair(a, b, is_random=is_random, document=number)
            at = end if is_random else sentences.first_from(int(starts[end]) + len(b))


def _elsewhere(bounds: NDArray[np.int64], number: int, rng: np.random.Generator) -> tuple[int, int]:
    """A random sentence of a random other document, and the document's end.

    The sentence is not the document's first if there is a second: what really follows a text never
    is a first sentence either.
    """
    other = int(rng.integers(len(bounds) - 2))
    other += other >= number
    first, last = int(bounds[other]), int(bounds[other + 1])
    return (int(rng.integers(first + 1, last)) if last - first > 1 else first), last


def full_rows(sentences: Sentences, frame: Frame) -> Iterator[PackedRow]:
    """Full rows, [SEP] between documents: "full-sentences" of Liu et al. 2019, section 4.2."""
    bounds, starts = sentences.documents, sentences.texts.starts
    documents = (
        sentences.texts.ids[starts[first] : starts[last]] for first, last in pairwise(bounds)
    )
    stream = [part for ids in documents if len(ids) for part in ([frame.sep_id], ids)][1:]
    flat = np.concatenate([np.zeros(0, np.int32), *stream]).astype(np.int32)
    room = frame.length - 2
    for first in range(0, len(flat), room):  # only the last row may be short
        yield frame.single(flat[first : first + room])

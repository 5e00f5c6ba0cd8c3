"""Documents to rows of a fixed length: pairs for next-sentence prediction, or full rows.

Dimensions: T tokens a row, special ones included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from minbert.data.tokenizer import EncodedTexts

Tokens = NDArray[np.int32]


@dataclass(frozen=True)
class Sentences:
    """Documents of tokenised sentences, without special tokens.

    Sentence i is `texts.ids[texts.starts[i]:texts.starts[i + 1]]`; document d has the sentences
    `documents[d]` to `documents[d + 1]`, excluded.
    """

    texts: EncodedTexts
    documents: NDArray[np.int64]

    def tokens(self, first: int, last: int, most: int) -> Tokens:
        """The sentences `first` to `last`, excluded, end to end, cut to `most` tokens."""
        start = self.texts.starts[first]
        return self.texts.ids[start : min(self.texts.starts[last], start + most)]

    def first_from(self, offset: int) -> int:
        """The first sentence that begins at token `offset` or later."""
        return int(np.searchsorted(self.texts.starts, offset, side="left"))


@dataclass(frozen=True)
class Row:
    """`[CLS] a [SEP] b [SEP]`, or `[CLS] a [SEP]`; token types are 1 from `split` on.

    `is_random` says that b is from another document than a, `document` (of pairs) which a's is.
    """

    tokens: Tokens
    split: int
    is_random: bool
    document: int | None = None


@dataclass(frozen=True)
class Frame:
    """What stands around the text of a row, and how long the row is."""

    cls_id: int
    sep_id: int
    length: int

    def single(self, a: Tokens) -> Row:
        """`[CLS] a [SEP]`."""
        tokens = np.concatenate([[self.cls_id], a, [self.sep_id]]).astype(np.int32)
        return Row(tokens, len(tokens), is_random=False)

    def pair(self, a: Tokens, b: Tokens, *, is_random: bool, document: int) -> Row:
        """`[CLS] a [SEP] b [SEP]`."""
        first = self.single(a).tokens
        tokens = np.concatenate([first, b, [self.sep_id]]).astype(np.int32)
        return Row(tokens, len(first), is_random, document)


def pair_rows(sentences: Sentences, frame: Frame, rng: np.random.Generator) -> Iterator[Row]:
    """Rows for next-sentence prediction (Devlin et al. 2019, section 3.1 and appendix A.2).

    a is whole sentences, as many as reach a length drawn between a quarter and three quarters of
    the row; b is, half the time each, what follows it or a stretch of another document, cut so
    that the row is full. An a that nothing follows makes no row: with it, the end of a document
    would give the answer away.
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
    """A sentence of a random other document that is not its first, and the document's end.

    Not the first where there is a second: what really follows never is a first sentence either.
    """
    other = int(rng.integers(len(bounds) - 2))
    other += other >= number
    first, last = int(bounds[other]), int(bounds[other + 1])
    return (int(rng.integers(first + 1, last)) if last - first > 1 else first), last


def full_rows(sentences: Sentences, frame: Frame) -> Iterator[Row]:
    """Rows that are full, across documents: "full-sentences" of Liu et al. 2019, section 4.2.

    A [SEP] stands between documents. Only the last row may be short.
    """
    bounds, starts, ids = sentences.documents, sentences.texts.starts, sentences.texts.ids
    documents = (ids[starts[first] : starts[last]] for first, last in pairwise(bounds))
    stream = [part for own in documents if len(own) for part in ([frame.sep_id], own)][1:]
    flat = np.concatenate([np.zeros(0, np.int32), *stream]).astype(np.int32)
    room = frame.length - 2
    for first in range(0, len(flat), room):
        yield frame.single(flat[first : first + room])

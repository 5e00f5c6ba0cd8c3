"""Texts as two encoders read them, and the places of their words.

A word is found again by its place in the text, in characters, so that vocabularies and
normalisation may differ. Dimensions: B rows, T tokens of the longest, W words, P pieces of words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Encoding
from torch import Tensor

from minbert.data.batches import Padded
from minbert.data.tokenizer import WordPieceTokenizer
from minbert.support.device import at_least_fp32, to_device

Place = tuple[int, int, int]  # a word's text (a number), its first character, that after its last
Span = tuple[int, int]  # the first piece of a word, and that after its last


@dataclass(frozen=True)
class ReadRow:
    """A row's token ids, with [CLS] and [SEP], the second text from `b_start` on, and its words."""

    ids: Sequence[int]
    b_start: int
    words: dict[Place, Span]


@dataclass(frozen=True)
class Reading:
    """One text or two as the student reads them; `texts` are their numbers among the teacher's."""

    row: ReadRow
    texts: tuple[int, ...]

    @property
    def words(self) -> Iterator[tuple[Place, Span]]:
        """The words that the student reads: the places by the teacher's texts, and the pieces."""
        for (which, begin, end), span in self.row.words.items():
            yield (self.texts[which], begin, end), span


class RowReader:
    """A reader of rows: `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, at most `length` tokens."""

    def __init__(self, tokenizer: WordPieceTokenizer, length: int) -> None:
        self._tokenizer, self._length, self._pad_id = tokenizer, length, tokenizer.pad_id
        self._cls, self._sep = tokenizer.special["[CLS]"], tokenizer.special["[SEP]"]
        self._special = set(tokenizer.special.values())

    def read(self, rows: Sequence[tuple[str, ...]]) -> list[ReadRow]:
        """The rows. Their words are those with all pieces in the row and none of them [UNK]."""
        texts = [text for row in rows for text in row]
        encodings = iter(self._tokenizer.encodings(texts, self._length))
        return [self._read([next(encodings) for _ in row]) for row in rows]

    def _read(self, texts: Sequence[Encoding]) -> ReadRow:
        room = (self._length - 1 - len(texts)) // len(texts)  # pieces of each text
        ids, starts, words = [self._cls], [0], {}
        for number, text in enumerate(texts):
            for (first, last), (begin, end) in self._words(text):
                if last <= room:
                    words[number, begin, end] = (len(ids) + first, len(ids) + last)
            ids += [*text.ids[:room], self._sep]
            starts.append(len(ids))
        return ReadRow(ids, starts[1], words)

    def _words(self, text: Encoding) -> Iterator[tuple[Span, tuple[int, int]]]:
        """Each word's pieces and its place in the text; special tokens are no words."""
        ids, offsets = text.ids, text.offsets
        for _, group in groupby(range(len(ids)), key=text.word_ids.__getitem__):
            pieces = list(group)
            if self._special.isdisjoint(ids[piece] for piece in pieces):
                span = (pieces[0], pieces[-1] + 1)
                yield span, (offsets[pieces[0]][0], offsets[pieces[-1]][1])

    def collate(self, rows: Sequence[ReadRow], device: torch.device) -> Padded:
        """Rows that this reader has read as one batch (B, T)."""
        lengths = np.array([len(row.ids) for row in rows])
        place = np.arange(lengths.max())
        mask = place < lengths[:, None]  # (B, T)
        types = mask & (place >= np.array([row.b_start for row in rows])[:, None])
        ids = np.full(mask.shape, self._pad_id, dtype=np.int64)
        ids[mask] = np.concatenate([row.ids for row in rows])
        arrays = (ids, mask.astype(np.int64), types.astype(np.int64))
        input_ids, attention_mask, type_ids = (to_device(array, device) for array in arrays)
        return Padded(input_ids, attention_mask, type_ids, lengths)


def like_lengths(rows: Sequence[ReadRow], piece: int) -> list[NDArray[np.int64]]:
    """The numbers of the rows, by length, at most `piece` together."""
    order = np.argsort([len(row.ids) for row in rows], kind="stable")
    return np.split(order, range(piece, len(order), piece))


def word_means(hidden: Tensor, spans: Sequence[Sequence[Span]]) -> Tensor:
    """Mean vectors (W, H) of words over their pieces in `hidden` (B, T, H), row after row."""
    offset = hidden.size(1)
    flat = [(i * offset + a, i * offset + b) for i, row in enumerate(spans) for a, b in row]
    return _means(hidden, np.array(flat, dtype=np.int64).reshape(-1, 2))


def row_means(hidden: Tensor, tokens: Padded) -> Tensor:
    """Mean vectors (B, H) of rows over all their tokens, as `--pooling mean` has them."""
    firsts = np.arange(len(tokens.lengths)) * hidden.size(1)
    return _means(hidden, np.stack([firsts, firsts + tokens.lengths], axis=1))


def _means(hidden: Tensor, bounds: NDArray[np.int64]) -> Tensor:
    """Means over stretches of the flattened tokens; `bounds` are their first and last, excluded."""
    sizes = bounds[:, 1] - bounds[:, 0]
    starts = np.cumsum(sizes) - sizes
    positions = np.repeat(bounds[:, 0] - starts, sizes) + np.arange(sizes.sum())  # (P,)
    pieces, bags = (to_device(array, hidden.device) for array in (positions, starts))
    return F.embedding_bag(pieces, at_least_fp32(hidden).flatten(0, 1), bags, mode="mean")

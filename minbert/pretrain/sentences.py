"""Rows of one sentence or two, kept as text on disk, for learning from a teacher.

Two tokenizers read a row, so it is tokenised when it is drawn. Dimensions: N rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minbert.data.tokenizer import WordPieceTokenizer
from minbert.pretrain.cache import damaged, rows_of_text
from minbert.pretrain.corpus import Document
from minbert.pretrain.shards import HELD_OUT, TRAIN, stretches
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.randomness import derive_seed

Row = tuple[str, ...]  # a sentence, or two that follow each other
_FORMAT = 1  # to be raised when the same text would make other rows
_SHARD = 2**16  # rows that are shuffled together


@dataclass(frozen=True)
class RowRecipe:
    """The settings that decide the rows, besides the text: `pair_share` of them are two texts."""

    pair_share: float
    held_out: float
    seed: int


class SentenceRows:
    """The rows of one split, training or held-out; `lengths` (N,) are the student's tokens."""

    def __init__(self, folder: Path, split: str) -> None:
        """Open the cache. Raises InputError where its files do not fit each other."""
        try:
            self._text = np.memmap(folder / f"{split}.txt", dtype=np.uint8, mode="r")
            facts = np.fromfile(folder / f"{split}.facts", dtype=np.int64).reshape(-1, 2)
            self._ends, self.lengths = np.append(0, facts[:, 0]), facts[:, 1]
            if self._ends[-1] != len(self._text):
                raise ValueError(f"{split}.txt has {len(self._text)} bytes, not {self._ends[-1]}")
        except (OSError, ValueError) as error:
            raise damaged(folder, error) from error
        self.key = folder.name  # of text, vocabulary and recipe
        self.starts = np.append(np.arange(0, len(self), _SHARD), len(self))
        self.sizes = np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, indices: NDArray[np.int64]) -> list[Row]:
        """The rows at `indices`, in that order."""
        bounds = zip(self._ends[indices], self._ends[indices + 1], strict=True)
        texts = (self._text[first:last].tobytes().decode("utf-8") for first, last in bounds)
        return [tuple(text.split("\n")) for text in texts]

    def sample(self, most: int) -> list[Row]:
        """At most `most` rows, evenly spaced over the whole text."""
        places = np.linspace(0, len(self) - 1, min(most, len(self))).round()
        return self.take(places.astype(np.int64))


def cached_sentences(
    cache: Path, paths: Sequence[Path], tokenizer: WordPieceTokenizer, recipe: RowRecipe
) -> Path:
    """The folder with the rows of these files, made now unless it exists. Raises InputError.

    A sentence without a token for `tokenizer`, the student's, is left out.
    """
    form = {"sentences": _FORMAT}
    folder = rows_of_text(cache, paths, tokenizer, recipe, _fill, form=form, doing="sentences")
    log.info("sentences: %d files in %s", len(paths), folder)
    return folder


def _fill(
    folder: Path, documents: Iterable[Document], tokenizer: WordPieceTokenizer, recipe: RowRecipe
) -> None:
    for number, (split, stretch) in enumerate(stretches(documents, recipe.held_out)):
        sentences = [sentence for document in stretch for sentence in document]
        tokens = tokenizer.encode([(s,) for s in sentences], special=False).lengths
        kept = [(s, int(n)) for s, n in zip(sentences, tokens, strict=True) if n]
        rng = np.random.default_rng(derive_seed(recipe.seed, "rows", number))
        _append(folder, split, [kept[row] for row in _rows(len(kept), recipe.pair_share, rng)])
    for split in (TRAIN, HELD_OUT):
        if not (folder / f"{split}.facts").exists():
            raise InputError(f"--text: leaves no {split} sentence; give more, or change --held_out")


def _rows(count: int, pair_share: float, rng: np.random.Generator) -> Iterator[slice]:
    """Rows over `count` sentences in order, each of two sentences with that probability."""
    first = 0
    while first < count:
        last = min(first + 1 + int(rng.random() < pair_share), count)
        yield slice(first, last)
        first = last


def _append(folder: Path, split: str, rows: Sequence[Sequence[tuple[str, int]]]) -> None:
    """Write rows of sentences and their tokens behind those that are there."""
    if not rows:
        return
    texts = ["\n".join(sentence for sentence, _ in row).encode() for row in rows]
    with (folder / f"{split}.txt").open("ab") as stream:
        ends = stream.tell() + np.cumsum([len(text) for text in texts])
        stream.write(b"".join(texts))
    tokens = [sum(count for _, count in row) for row in rows]
    with (folder / f"{split}.facts").open("ab") as stream:
        stream.write(np.stack([ends, tokens], axis=1).astype(np.int64).tobytes())

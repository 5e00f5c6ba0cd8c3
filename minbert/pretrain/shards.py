"""Packed text on disk: memory-mapped shards, made once for each text, vocabulary and row length.

Dimensions: N rows, T tokens a row.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minbert.data.tokenizer import WordPieceTokenizer
from minbert.pretrain.cache import damaged, rows_of_text
from minbert.pretrain.corpus import Document, is_held_out
from minbert.pretrain.packing import Frame, PackedRow, Sentences, full_rows, pair_rows
from minbert.support import durable_files, untrusted
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.randomness import derive_seed

TRAIN, HELD_OUT = "train", "held-out"
_FORMAT = 2  # to be raised when the content of a row changes
_BUFFER = 8_000_000  # characters of text packed together into one shard
_META = "shards.json"
_OPEN = 64  # shards that are open at once: each takes two file handles


@dataclass(frozen=True)
class Recipe:
    """The settings that decide the rows, besides text and vocabulary."""

    length: int
    pairs: bool
    held_out: float
    seed: int


@dataclass(frozen=True)
class PackedRows:
    """N rows: `ids` (N, T) padded, and (N,) each their lengths, starts of b, and NSP labels."""

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    b_starts: NDArray[np.int64]
    is_random: NDArray[np.int64]

    def part(self, rows: slice) -> PackedRows:
        """Some of the rows."""
        return PackedRows(*(values[rows] for values in vars(self).values()))


class PackedText:
    """The rows of one split of a cache, training or held-out, shard after shard."""

    def __init__(self, folder: Path, split: str) -> None:
        """Open the cache. Raises InputError where the folder is not a whole one."""
        try:
            meta = untrusted.read_object(folder / _META)
            self.sizes = np.asarray(meta["rows"][split], dtype=np.int64)
        except (InputError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise damaged(folder, error) from error
        self.key = folder.name  # of text, vocabulary and recipe
        self.starts = np.cumsum([0, *self.sizes], dtype=np.int64)
        load = functools.partial(_load, folder, split)
        for shard in range(len(self.sizes)):  # damage is better known now than in an hour
            load(shard)
        self._shard = functools.lru_cache(maxsize=_OPEN)(load)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def sample(self, most: int) -> PackedRows:
        """At most `most` rows, evenly spaced over the whole text."""
        last = len(self) - 1
        return self.take(np.linspace(0, last, min(most, len(self))).round().astype(np.int64))

    def take(self, indices: NDArray[np.int64]) -> PackedRows:
        """The rows at `indices`, in that order."""
        shards = np.searchsorted(self.starts, indices, side="right") - 1
        within = indices - self.starts[shards]
        rows = [(self._shard(int(shard)), row) for shard, row in zip(shards, within, strict=True)]
        ids = np.stack([ids[row] for (ids, _), row in rows]).astype(np.int64)
        facts = np.stack([facts[row] for (_, facts), row in rows]).astype(np.int64)
        return PackedRows(ids, *facts.T)


def _load(folder: Path, split: str, shard: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """A shard's ids and facts, memory-mapped."""
    stem = folder / f"{split}-{shard:05d}"
    try:
        ids, facts = (np.load(f"{stem}.{kind}.npy", mmap_mode="r") for kind in ("ids", "facts"))
    except (OSError, EOFError, ValueError) as error:
        raise damaged(folder, error) from error
    return ids, facts


def cached(
    cache: Path, paths: Sequence[Path], tokenizer: WordPieceTokenizer, recipe: Recipe
) -> Path:
    """The folder with the packed rows of these files, made now unless it exists."""
    form = {"format": _FORMAT}
    folder = rows_of_text(cache, paths, tokenizer, recipe, _fill, form=form, doing="tokenising")
    log.info("text: %d files packed in %s", len(paths), folder)
    return folder


def _fill(
    folder: Path, documents: Iterable[Document], tokenizer: WordPieceTokenizer, recipe: Recipe
) -> None:
    counts: dict[str, list[int]] = {TRAIN: [], HELD_OUT: []}
    read = lost = 0  # documents; lost are those that begin no row
    for split, buffer in stretches(documents, recipe.held_out):
        shard = len(counts[split])
        rows = list(_pack(buffer, f"{split}-{shard}", tokenizer, recipe))
        read += len(buffer)
        if rows:
            _write(folder / f"{split}-{shard:05d}", rows, recipe.length, tokenizer)
            counts[split].append(len(rows))
        if recipe.pairs or not rows:
            lost += len(buffer) - len({row.document for row in rows})
    _check(counts, read, lost, recipe.length)
    durable_files.write_json(folder / _META, {"rows": counts})


def _check(counts: Mapping[str, Sequence[int]], read: int, lost: int, length: int) -> None:
    """Raise InputError where a split has no row; warn of documents that begin none."""
    for split, rows in counts.items():
        if not rows:
            raise InputError(
                f"--text: {read} documents leave no {split} row of {length} tokens; give "
                "more text, change --held_out, or (short documents) take --no_nsp"
            )
    if lost:
        log.warning(
            "%d of %d documents begin no row of %d tokens: too short for two parts, or without "
            "another document in memory; --no_nsp takes all text",
            lost,
            read,
            length,
        )


def stretches(documents: Iterable[Document], share: float) -> Iterator[tuple[str, list[Document]]]:
    """Documents in stretches that fit into memory; the held-out ones in stretches of their own."""
    buffers: dict[str, list[Document]] = {TRAIN: [], HELD_OUT: []}
    sizes = dict.fromkeys(buffers, 0)
    for document in documents:
        split = HELD_OUT if is_held_out(document, share) else TRAIN
        buffers[split].append(document)
        sizes[split] += sum(map(len, document))
        if sizes[split] >= _BUFFER:
            yield split, buffers[split]
            buffers[split], sizes[split] = [], 0
    yield from ((split, buffer) for split, buffer in buffers.items() if buffer)


def _pack(
    documents: list[Document], name: str, tokenizer: WordPieceTokenizer, recipe: Recipe
) -> Iterator[PackedRow]:
    frame = Frame(tokenizer.special["[CLS]"], tokenizer.special["[SEP]"], recipe.length)
    texts = tokenizer.encode([(s,) for document in documents for s in document], special=False)
    sentences = Sentences(texts, np.cumsum([0, *map(len, documents)], dtype=np.int64))
    if not recipe.pairs:
        yield from full_rows(sentences, frame)
    elif len(documents) > 1:  # a document alone has no other to draw from
        rng = np.random.default_rng(derive_seed(recipe.seed, "packing", name))
        yield from pair_rows(sentences, frame, rng)


def _write(
    stem: Path, rows: Sequence[PackedRow], length: int, tokenizer: WordPieceTokenizer
) -> None:
    kind = np.uint16 if tokenizer.size <= 2**16 else np.uint32
    ids = np.full((len(rows), length), tokenizer.pad_id, dtype=kind)
    for target, row in zip(ids, rows, strict=True):
        target[: len(row.tokens)] = row.tokens
    facts = [(len(row.tokens), row.b_start, row.is_random) for row in rows]
    np.save(stem.with_name(f"{stem.name}.ids.npy"), ids)
    np.save(stem.with_name(f"{stem.name}.facts.npy"), np.asarray(facts, dtype=np.int32))

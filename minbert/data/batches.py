"""Padded tensors from examples. Every distinct text is encoded once, before training.

Dimensions: n examples, V texts an example (1, or 2 for a pair encoded as two), B examples in a
batch, T tokens of its longest text. The V·B texts of a batch go through the encoder together:
first the B first texts, then the B second ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minbert.data import spooled
from minbert.data.examples import Example, Split
from minbert.data.tokenizer import EncodedTexts, WordPieceTokenizer
from minbert.support.device import to_device
from minbert.support.randomness import derive_seed
from minbert.tasks.task import Task

# Positions that must be saved on a GPU, so that it pays to gather tokens. An estimate: a layer of
# BERT-base has a dozen kernels more then, which take as long as computing 350 positions.
_LEAST_SAVED = 512


@dataclass(frozen=True)
class Padded:
    """N texts as equally long rows: `input_ids`, `attention_mask`, `token_type_ids`, all (N, T).

    `lengths` are the tokens of each text, (N,), and `one_type` says that all token types are 0:
    both are known without asking the device. `computed` has the positions in the flattened (N · T,)
    that the encoder computes, where it shall leave padding out on a GPU.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    lengths: NDArray[np.int64]
    one_type: bool = False
    computed: Tensor | None = None

    def mapped(
        self,
        change: Callable[[Tensor], Tensor],
        lengths: NDArray[np.int64],
        computed: Tensor | None,
    ) -> Padded:
        """The texts after `change` of each tensor, with `lengths` and `computed` after it."""
        ids, mask, types = map(change, (self.input_ids, self.attention_mask, self.token_type_ids))
        return Padded(ids, mask, types, lengths, self.one_type, computed)

    @property
    def types(self) -> Tensor | None:
        """The token types, None where the encoder need not look them up on a GPU: all are 0."""
        skipped = self.one_type and self.token_type_ids.device.type != "cpu"
        return None if skipped else self.token_type_ids

    @property
    def real(self) -> int:
        """Tokens that are not padding."""
        return int(self.lengths.sum())


@dataclass(frozen=True)
class Batch:
    """B examples of one task on the device.

    Either `tokens` holds their V·B texts, or `features` (V, B, H) holds the texts' pooled vectors,
    kept from an encoder that does not change.
    """

    task: Task
    ids: tuple[str, ...]
    labels: Tensor  # (B,)
    views: int  # V
    tokens: Padded | None
    features: Tensor | None = None

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.task.name

    def repeated(self, count: int) -> Batch:
        """The batch `count` times over, as one batch of `count` · B examples."""
        assert self.tokens is not None
        lengths = np.tile(self.tokens.lengths.reshape(self.views, -1), count).reshape(-1)
        computed = self.tokens.computed
        if computed is not None:
            size = self.tokens.input_ids.numel() // self.views
            computed = _positions_of_copies(computed, count, size)
        tokens = self.tokens.mapped(
            lambda rows: stacked([rows] * count, self.views), lengths, computed
        )
        return replace(self, ids=self.ids * count, labels=self.labels.repeat(count), tokens=tokens)

    def part(self, rows: slice, seed: int) -> tuple[Batch, float, int]:
        """Some examples, padded as they need it, their share of all, and a seed for their draws.

        The loss is a mean over examples, so a part counts by its share. `seed` is the whole's.
        """
        part = self._taken(rows)
        own_seed = derive_seed(seed, "part", *rows.indices(len(self.ids)))
        return part, len(part.ids) / len(self.ids), own_seed

    def _taken(self, rows: slice) -> Batch:
        ids, labels = self.ids[rows], self.labels[rows]
        if self.tokens is None:
            assert self.features is not None
            return replace(self, ids=ids, labels=labels, features=self.features[:, rows])
        lengths = self.tokens.lengths.reshape(self.views, -1)[:, rows].reshape(-1)

        longest, device = self.tokens.input_ids.size(1), self.tokens.input_ids.device
        width = padded_width(int(lengths.max()), longest, device)
        computed = computed_positions(lengths, width, device)

        def taken(texts: Tensor) -> Tensor:  # (V·B, T)
            return texts.unflatten(0, (self.views, -1))[:, rows, :width].flatten(0, 1)

        tokens = self.tokens.mapped(taken, lengths, computed)
        return replace(self, ids=ids, labels=labels, tokens=tokens)

    @property
    def real_tokens(self) -> int:
        """Tokens that go through the encoder, without padding."""
        return 0 if self.tokens is None else self.tokens.real

    @property
    def padded_tokens(self) -> int:
        """Tokens that go through the encoder, with padding."""
        return 0 if self.tokens is None else self.tokens.input_ids.numel()


def stacked(copies: Sequence[Tensor], views: int) -> Tensor:
    """Rows (V·B, ...) of several batches as one batch: all first texts, then all second ones."""
    return torch.cat([rows.unflatten(0, (views, -1)) for rows in copies], dim=1).flatten(0, 1)


def _positions_of_copies(positions: Tensor, count: int, size: int) -> Tensor:
    """Positions in a batch to those in `count` copies of it; a view has `size` positions.

    The device computes them: a recorded pass (a CUDA graph) gets nothing anew from the host.
    """
    copies = torch.arange(count, device=positions.device)[:, None]
    earlier = positions // size * (count - 1)  # copies of the views before
    return (positions + size * (earlier + copies)).flatten()


@dataclass(frozen=True)
class Dataset:
    """A split, encoded. `rows[i]` gives the V texts of example i as indices into `texts`."""

    task: Task
    ids: Sequence[str]
    labels: NDArray[np.float64]  # (n,), NaN where there is none
    texts: EncodedTexts
    rows: NDArray[np.int64]  # (n, V)
    pad_id: int
    features: Tensor | None = None  # (distinct texts, H), where they are kept

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each example's longest text, (n,), which decide what its batch is padded to."""
        return np.max(self.texts.lengths[self.rows], axis=1)

    def with_features(self, features: Tensor) -> Dataset:
        """This dataset with the pooled vectors of its distinct texts, (distinct texts, H)."""
        return replace(self, features=features)

    def batch(self, indices: NDArray[np.int64], device: torch.device) -> Batch:
        """The examples at `indices`, in that order."""
        texts = self.rows[indices].T  # (V, B)
        tokens = features = None
        if self.features is None:
            tokens = pad(self.texts, texts.reshape(-1), self.pad_id, device)
        else:
            features = self.features[to_device(texts, self.features.device)]
        return Batch(
            task=self.task,
            ids=tuple(self.ids[index] for index in indices),
            labels=to_device(self.labels[indices].astype(np.float32), device),
            views=len(texts),
            tokens=tokens,
            features=features,
        )


def encode_split(split: Split, tokenizer: WordPieceTokenizer, *, cross_encoder: bool) -> Dataset:
    """Tokenize a split's distinct texts; with `cross_encoder` a pair counts as one text."""
    views = 1 if cross_encoder else len(split.task.text_columns)
    ids, labels = spooled.StoredTexts(), spooled.GrowingArray(np.float64)
    equals = spooled.Equals()
    for example in split.examples:
        ids.append(example.id)
        labels.append(np.nan if example.label is None else example.label)
        for text in _encoded_together(example, views):
            equals.append(repr(text))
    first = equals.first()
    distinct = first == np.arange(len(first))
    every = (text for example in split.examples for text in _encoded_together(example, views))
    return Dataset(
        task=split.task,
        ids=ids,
        labels=labels.whole(),
        texts=tokenizer.encode(compress(every, distinct)),
        rows=(np.cumsum(distinct) - 1)[first].reshape(-1, views),
        pad_id=tokenizer.pad_id,
    )


def _encoded_together(example: Example, views: int) -> list[tuple[str, ...]]:
    """An example's inputs to the encoder: its texts one by one, or together."""
    return [example.texts] if views == 1 else [(text,) for text in example.texts]


def pad(
    texts: EncodedTexts, indices: NDArray[np.int64], pad_id: int, device: torch.device
) -> Padded:
    """The texts at `indices` as rows padded to the longest, or a bit further (`padded_width`)."""
    lengths = texts.starts[indices + 1] - texts.starts[indices]
    width = padded_width(int(lengths.max()), texts.longest, device)
    mask = np.arange(width) < lengths[:, None]  # (N, T)
    flat = np.concatenate([np.arange(texts.starts[i], texts.starts[i + 1]) for i in indices])
    input_ids = np.full(mask.shape, pad_id, dtype=np.int64)
    input_ids[mask] = texts.ids[flat]
    type_ids = np.zeros(mask.shape, dtype=np.int64)
    type_ids[mask] = texts.type_ids[flat]
    tensors = (input_ids, mask.astype(np.int64), type_ids)
    ids, attention_mask, types = (to_device(array, device) for array in tensors)
    computed = computed_positions(lengths, width, device)
    return Padded(ids, attention_mask, types, lengths, not type_ids.any(), computed)


def padded_width(length: int, longest: int, device: torch.device, step: int = 8) -> int:
    """The tokens that rows have whose longest text has `length`; no text has more than `longest`.

    On a GPU it is a multiple of `step`, or `longest`, so that there are few shapes of batches, each
    of which is prepared for (`training/cuda_graphs.py`).
    """
    if device.type != "cuda":
        return length
    return min(-(-length // step) * step, longest)


def computed_positions(
    lengths: NDArray[np.int64], width: int, device: torch.device
) -> Tensor | None:
    """The positions that a GPU computes of texts padded to `width`, where that saves enough.

    None stands for all of them, and for another device.
    """
    places = len(lengths) * width
    if device.type != "cuda" or places - int(lengths.sum()) < _LEAST_SAVED:
        return None
    positions = positions_of(lengths, width)
    return to_device(positions, device) if places - len(positions) >= _LEAST_SAVED else None


def positions_of(lengths: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """The positions of all tokens of texts padded to `width`, and of some padding.

    Padding makes their number a multiple of a sixteenth of all (rounded up), so that batches have
    few shapes.
    """
    mask = (np.arange(width) < lengths[:, None]).reshape(-1)
    tokens, step = int(lengths.sum()), -(-len(mask) // 16)
    padding = np.flatnonzero(~mask)[: -tokens % step]
    return np.concatenate([np.flatnonzero(mask), padding])


def by_length(lengths: NDArray[np.int64], most_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Indices of all texts, longest first, in batches of at most `most_tokens` padded tokens."""
    order = np.argsort(-lengths, kind="stable")
    first = 0
    while first < len(order):
        count = max(1, int(most_tokens // lengths[order[first]]))
        yield order[first : first + count]
        first += count

"""Word vectors that new word embeddings begin with, counted from words that stand near each other.

From random word embeddings a masked language model first learns how frequent each word is, and then
stays at that loss for millions of tokens: the words around a mask say nothing as long as their
embeddings mean nothing. Counting costs a minute. The vectors are the factorised positive pointwise
mutual information of words near each other, as good as word2vec's (Levy, Goldberg & Dagan 2015,
sections 2 and 3).

Dimensions: N rows, T tokens a row, V vocabulary, D numbers a vector.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from minbert.pretrain.shards import TRAIN, PackedRows, PackedText
from minbert.support import durable_files
from minbert.support.console import ProgressBar, log
from minbert.support.errors import InputError

WINDOW = 5  # tokens to either side; a word at distance d counts 1/d
SMOOTHING = 0.75  # exponent on how often a word is a neighbour: rare words would win everything
SIZE = 0.05  # root mean square of an entry, as in a trained encoder of this kind
MOST = 100_000_000  # tokens that are counted; more tokens make no better vectors
_AT_ONCE = 2_000_000  # tokens counted in one go, in about 300 MB

Counts = Any  # scipy.sparse.csr_array (V, V)


def cached_vectors(
    folder: Path, vocab_size: int, special: NDArray[np.int64], size: int
) -> NDArray[np.float32]:
    """The vectors (V, D) of a packed text, made now unless a file has them.

    Tokens that never occur, and `special` tokens, have zeros. Raises InputError for a damaged file.
    """
    path = folder / f"word-vectors-{size}.npy"
    if not path.exists():
        vectors = factorized(positive_pmi(near_each_other(folder, vocab_size, special)), size)
        with durable_files.replacing(path) as draft, draft.open("wb") as stream:
            np.save(stream, vectors)
    log.info("word embeddings begin with %s", path)
    try:
        return np.asarray(np.load(path), dtype=np.float32)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}); remove the file") from error


def near_each_other(folder: Path, vocab_size: int, special: NDArray[np.int64]) -> Counts:
    """Counts of words within WINDOW tokens of each other, (V, V), symmetric."""
    text = PackedText(folder, TRAIN)
    length = text.take(np.arange(1)).ids.shape[1]
    rows, step = min(len(text), max(1, MOST // length)), max(1, _AT_ONCE // length)
    counts: Counts = sparse.csr_array((vocab_size, vocab_size), dtype=np.float64)
    with ProgressBar(rows, "co-occurrences", "rows") as bar:
        for first in range(0, rows, step):
            last = min(first + step, rows)
            counts = counts + _count(text.take(np.arange(first, last)), vocab_size, special)
            bar.update(last - first)
    return counts + counts.T


def _count(rows: PackedRows, vocab_size: int, special: NDArray[np.int64]) -> Counts:
    """Counts (V, V) of some rows, each pair of places once; the two segments are two texts."""
    place = np.arange(rows.ids.shape[1])
    segment = (place >= rows.b_starts[:, None]).astype(np.int8)  # (N, T)
    segment[np.isin(rows.ids, special)] = -1
    pairs, weights = [], []
    for distance in range(1, min(WINDOW, len(place) - 1) + 1):
        left, right = segment[:, :-distance], segment[:, distance:]
        near = (left == right) & (left >= 0)
        pairs.append(np.stack([rows.ids[:, :-distance][near], rows.ids[:, distance:][near]]))
        weights.append(np.full(pairs[-1].shape[1], 1 / distance))
    places = np.concatenate(pairs, axis=1)
    shape = (vocab_size, vocab_size)
    return sparse.coo_array((np.concatenate(weights), tuple(places)), shape=shape).tocsr()


def positive_pmi(counts: Counts) -> Counts:
    """max(0, log P(a, b) / (P(a) P'(b))), where P' is P to the power SMOOTHING, normalised."""
    pairs = counts.tocoo()
    often = np.asarray(counts.sum(axis=1)).ravel()
    smoothed = often**SMOOTHING / (often**SMOOTHING).sum()
    expected = often[pairs.row] * smoothed[pairs.col]
    positive = np.maximum(np.log(pairs.data / expected), 0)
    result = sparse.coo_array((positive, (pairs.row, pairs.col)), shape=counts.shape).tocsr()
    result.eliminate_zeros()
    return result


def factorized(pmi: Counts, size: int) -> NDArray[np.float32]:
    """U √S of the `size` largest singular values, scaled to SIZE: (V, D).

    A word without neighbours has zeros. A text with fewer words than `size` leaves the last columns
    zero.
    """
    rank = min(size, pmi.shape[0] - 1)
    start = np.random.default_rng(0).standard_normal(pmi.shape[0])
    left, values, _ = sparse.linalg.svds(pmi, k=rank, v0=start)
    vectors = np.zeros((pmi.shape[0], size))
    vectors[:, :rank] = (left * np.sqrt(np.maximum(values, 0)))[:, ::-1]
    words = np.diff(pmi.indptr) > 0
    vectors[~words] = 0
    scale = np.sqrt(np.mean(vectors[words] ** 2)) if words.any() else 1.0
    return (vectors * (SIZE / max(scale, 1e-12))).astype(np.float32)

"""Word vectors to begin with: counted as by hand, factorised to what was counted."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from minbert.data.subwords import SPECIAL_TOKENS
from minbert.pretrain import word_vectors
from minbert.pretrain.shards import TRAIN, PackedText, Recipe, cached
from minbert.pretrain.word_vectors import (
    SMOOTHING,
    WINDOW,
    cached_vectors,
    factorized,
    near_each_other,
    positive_pmi,
)
from minbert.support.errors import InputError
from tests.helpers import VOCAB, make_tokenizer
from tests.pretrain.texts import random_documents, write_documents

SPECIAL = np.array([VOCAB[token] for token in SPECIAL_TOKENS])
COUNT = len(VOCAB)


@pytest.fixture(scope="module", params=[True, False], ids=["pairs", "one text a row"])
def folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    place = tmp_path_factory.mktemp("text")
    path = write_documents(place / "a.txt", random_documents(60))
    recipe = Recipe(length=24, pairs=request.param, held_out=0.1, seed=0)
    return cached(place / "cache", [path], make_tokenizer(2**20), recipe)


def counted(folder: Path) -> NDArray[np.float64]:
    return near_each_other(folder, COUNT, SPECIAL).toarray()


def counted_by_hand(folder: Path, most: int | None = None) -> NDArray[np.float64]:
    text = PackedText(folder, TRAIN)
    rows = text.take(np.arange(len(text))[:most])
    counts = np.zeros((COUNT, COUNT))
    for ids, split in zip(rows.ids.tolist(), rows.b_starts.tolist(), strict=True):
        for segment in (range(split), range(split, len(ids))):
            for i, j in combinations(segment, 2):
                if j - i <= WINDOW and not {ids[i], ids[j]} & set(SPECIAL.tolist()):
                    counts[ids[i], ids[j]] += 1 / (j - i)
                    counts[ids[j], ids[i]] += 1 / (j - i)
    return counts


def test_neighbours_are_counted_as_by_hand(folder: Path) -> None:
    np.testing.assert_allclose(counted(folder), counted_by_hand(folder), rtol=1e-12)


def test_counting_in_small_portions_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = counted(folder)
    monkeypatch.setattr(word_vectors, "_AT_ONCE", 24 * 7)
    np.testing.assert_allclose(counted(folder), whole, rtol=1e-12)


def test_no_more_is_counted_than_helps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_vectors, "_AT_ONCE", 24 * 7)
    monkeypatch.setattr(word_vectors, "MOST", 24 * 10)
    np.testing.assert_allclose(counted(folder), counted_by_hand(folder, most=10), rtol=1e-12)


def test_positive_pmi_is_the_formula(folder: Path) -> None:
    counts = near_each_other(folder, COUNT, SPECIAL)
    dense = counts.toarray()
    often = dense.sum(axis=1)
    smoothed = often**SMOOTHING / sum(often**SMOOTHING)
    found = positive_pmi(counts).toarray()
    for a, b in np.argwhere(dense):
        joint = dense[a, b] / dense.sum()
        pmi = math.log(joint / (often[a] / dense.sum() * smoothed[b]))
        assert found[a, b] == pytest.approx(max(pmi, 0), abs=1e-12)
    assert not found[dense == 0].any()


def test_vectors_are_the_best_factors_of_their_size(folder: Path) -> None:
    pmi = positive_pmi(near_each_other(folder, COUNT, SPECIAL))
    found = factorized(pmi, 6).astype(np.float64)
    left, values, _ = np.linalg.svd(pmi.toarray())
    expected = left[:, :6] * np.sqrt(values[:6])
    # equal up to the signs of the columns, and scale
    one, other = (m @ m.T / np.linalg.norm(m @ m.T) for m in (found, expected))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_words_have_the_size_of_trained_ones_and_others_nothing(folder: Path) -> None:
    vectors = factorized(positive_pmi(near_each_other(folder, COUNT, SPECIAL)), 6)
    words = np.abs(vectors).max(axis=1) > 0
    assert not words[SPECIAL].any()
    assert words.sum() > COUNT / 2
    assert np.sqrt(np.mean(vectors[words] ** 2)) == pytest.approx(word_vectors.SIZE, rel=1e-5)


def test_a_vocabulary_smaller_than_the_vectors_leaves_columns_zero(folder: Path) -> None:
    vectors = factorized(positive_pmi(near_each_other(folder, COUNT, SPECIAL)), COUNT + 3)
    assert vectors.shape == (COUNT, COUNT + 3)
    assert np.isfinite(vectors).all()
    assert not vectors[:, COUNT - 1 :].any()


def test_they_are_made_once_and_a_damaged_file_is_named(folder: Path) -> None:
    path, vectors = folder / "word-vectors-5.npy", cached_vectors(folder, COUNT, SPECIAL, 5)
    first = path.read_bytes()
    path.unlink()
    np.testing.assert_array_equal(cached_vectors(folder, COUNT, SPECIAL, 5), vectors)
    assert path.read_bytes() == first  # deterministic
    path.write_bytes(first[:100])
    with pytest.raises(InputError, match=r"word-vectors-5\.npy: damaged"):
        cached_vectors(folder, COUNT, SPECIAL, 5)
    assert path.read_bytes() == first[:100]  # not made again over the damaged one

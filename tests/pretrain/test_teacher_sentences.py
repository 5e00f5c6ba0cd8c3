"""Rows of one sentence or two: all of the text once, pairs that follow, read back as they were."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from minbert.pretrain import sentences
from minbert.pretrain.corpus import is_held_out
from minbert.pretrain.order import LikeLengths
from minbert.pretrain.sentences import RowRecipe, SentenceRows, cached_sentences
from minbert.pretrain.shards import HELD_OUT, TRAIN
from minbert.support.errors import InputError
from minbert.training.sampling import POOL
from tests.helpers import make_tokenizer
from tests.pretrain.texts import random_documents, write_documents

DOCUMENTS = [*random_documents(150), ["thé film 中文 😀", "\x01\u200b", "a\tb"]]


def made(folder: Path, share: float = 0.0, held_out: float = 0.2) -> Path:
    path = write_documents(folder / "a.txt", DOCUMENTS)
    recipe = RowRecipe(share, held_out, seed=3)
    return cached_sentences(folder, [path], make_tokenizer(2**30), recipe)


def rows_of(folder: Path, split: str) -> list[tuple[str, ...]]:
    rows = SentenceRows(folder, split)
    return rows.take(np.arange(len(rows)))


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_every_sentence_with_a_token_stands_in_one_row(tmp_path: Path, share: float) -> None:
    folder = made(tmp_path, share)
    for split, held_out in ((TRAIN, False), (HELD_OUT, True)):
        kept = [d for d in DOCUMENTS if is_held_out(d, 0.2) == held_out]
        expected = [s for document in kept for s in document if s != "\x01\u200b"]
        found = rows_of(folder, split)
        assert list(chain.from_iterable(found)) == expected
        sizes = {len(row) for row in found[:-1]}
        assert sizes == {0.0: {1}, 0.4: {1, 2}, 1.0: {2}}[share]


def test_the_share_of_pairs_is_that_of_rows(tmp_path: Path) -> None:
    found = rows_of(made(tmp_path, 0.4), TRAIN)
    assert np.mean([len(row) == 2 for row in found]) == pytest.approx(0.4, abs=0.08)


def test_lengths_are_the_students_tokens(tmp_path: Path) -> None:
    rows = SentenceRows(made(tmp_path, 0.4), TRAIN)
    tokenizer = make_tokenizer(2**30)
    for row, length in zip(rows.take(np.arange(len(rows))), rows.lengths, strict=True):
        assert length == tokenizer.encode([(s,) for s in row], special=False).lengths.sum()


def test_rows_are_taken_in_any_order(tmp_path: Path) -> None:
    rows = SentenceRows(made(tmp_path), TRAIN)
    every = rows.take(np.arange(len(rows)))
    order = np.random.default_rng(0).permutation(len(rows))
    assert rows.take(order) == [every[i] for i in order]
    assert rows.sample(10**6) == every
    assert len(rows.sample(7)) == 7


def test_what_decides_the_rows_is_in_the_folders_name(tmp_path: Path) -> None:
    first = made(tmp_path)
    assert made(tmp_path) == first
    assert len({first, made(tmp_path, 0.5), made(tmp_path, held_out=0.3)}) == 3


def test_damage_and_too_little_text_are_one_line(tmp_path: Path) -> None:
    folder = made(tmp_path)
    (folder / "train.txt").write_bytes((folder / "train.txt").read_bytes()[:-1])
    with pytest.raises(InputError, match="damaged"):
        SentenceRows(folder, TRAIN)
    with pytest.raises(InputError, match="leaves no held-out sentence"):
        made(tmp_path, held_out=1e-9)


def test_batches_have_like_lengths_and_cover_the_text_evenly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentences, "_SHARD", 100)
    rows = SentenceRows(made(tmp_path), TRAIN)
    assert len(rows.sizes) > 2
    order = LikeLengths(rows, rows.lengths, 2, 2 * POOL, 9, "x")
    batches = [batch for ((name, batch),) in order.epoch(0) if name == "x"]
    spread = np.mean([np.ptp(rows.lengths[batch]) for batch in batches])
    assert spread < 0.5
    counts = np.bincount(np.concatenate(batches), minlength=len(rows))
    assert counts.max() - counts.min() <= 1
    first = rows.lengths[batches[0]].mean(), rows.lengths[batches[1]].mean()
    assert first != tuple(sorted(rows.lengths[b].mean() for b in batches)[:2])


@pytest.mark.parametrize("per_epoch", [1, 7, 50, 53])
def test_epochs_lie_end_to_end(tmp_path: Path, per_epoch: int) -> None:
    rows = SentenceRows(made(tmp_path), TRAIN)
    straight = LikeLengths(rows, rows.lengths, 3, 130, 9, "x").epoch(0)
    parted = LikeLengths(rows, rows.lengths, 3, per_epoch, 9, "x")
    steps = chain.from_iterable(map(parted.epoch, range(130)))
    for ((_, one),), ((_, other),) in zip(straight, steps, strict=False):
        np.testing.assert_array_equal(one, other)
    assert parted.start(3) == 3 * per_epoch

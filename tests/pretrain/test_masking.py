"""Masks: how many, which, and what stands in their place."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minbert.pretrain.masking import Masked, Masker
from minbert.support.randomness import generator
from tests.helpers import VOCAB

SPECIAL = [VOCAB[token] for token in ("[PAD]", "[CLS]", "[SEP]", "[MASK]")]
CONTINUES = [index for token, index in VOCAB.items() if token.startswith("##")]
TEXT = [index for token, index in VOCAB.items() if index not in SPECIAL]


def random_rows(count: int, length: int = 64, seed: int = 0) -> Tensor:
    """Rows [CLS] a [SEP] b [SEP] and padding, of random lengths."""
    draw = np.random.default_rng(seed)
    ids = np.full((count, length), VOCAB["[PAD]"])
    for row in ids:
        size = draw.integers(6, length + 1)
        row[:size] = draw.choice(TEXT, size)
        row[[0, draw.integers(2, size - 2), size - 1]] = (
            VOCAB["[CLS]"],
            VOCAB["[SEP]"],
            VOCAB["[SEP]"],
        )
    return torch.from_numpy(ids)


def mask(ids: Tensor, rate: float = 0.15, seed: int = 0, *, whole_words: bool = False) -> Masked:
    return Masker(VOCAB, rate, whole_words=whole_words)(ids, generator(seed))


def chosen(ids: Tensor, masked: Masked) -> Tensor:
    flat = torch.zeros(ids.numel(), dtype=torch.bool)
    flat[masked.positions] = True
    return flat.view_as(ids)


def text_tokens(ids: Tensor) -> Tensor:
    return ~torch.isin(ids, torch.tensor(SPECIAL))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.15, 0.4, 0.99]))
def test_each_row_has_its_number_and_no_special_token_is_chosen(seed: int, rate: float) -> None:
    ids = random_rows(12, seed=seed)
    picked = chosen(ids, mask(ids, rate, seed))
    assert not (picked & ~text_tokens(ids)).any()
    for row, own in zip(ids, picked, strict=True):
        assert int(own.sum()) == max(1, int(int(text_tokens(row).sum()) * rate + 0.5))


@pytest.mark.parametrize("whole_words", [False, True])
def test_targets_are_what_stood_there_and_nothing_else_changes(whole_words: bool) -> None:
    ids = random_rows(40)
    masked = mask(ids, whole_words=whole_words)
    picked = chosen(ids, masked)
    assert torch.equal(ids[picked], masked.targets)
    assert torch.equal(masked.input_ids[~picked], ids[~picked])


@pytest.mark.parametrize("whole_words", [False, True])
def test_fifteen_percent_in_shares_of_80_10_10(whole_words: bool) -> None:
    ids = random_rows(1500)
    masked = mask(ids, whole_words=whole_words)
    now, total = masked.input_ids.flatten()[masked.positions], len(masked.targets)
    share = total / int(text_tokens(ids).sum())
    assert 0.135 < share < 0.16 if whole_words else abs(share - 0.15) < 0.003
    is_mask, same = now == VOCAB["[MASK]"], now == masked.targets
    size = max(VOCAB.values()) + 1
    for found, expected in (
        (is_mask, 0.8 + 0.1 / size),
        (same, 0.1 + 0.1 / size),
        (~is_mask & ~same, 0.1 * (1 - 2 / size)),
    ):
        deviation = (expected * (1 - expected) / total) ** 0.5
        assert abs(float(found.float().mean()) - expected) < 4 * deviation


def test_every_position_and_every_random_token_is_as_likely() -> None:
    ids = torch.tensor([[VOCAB["[CLS]"], *TEXT[:40], VOCAB["[SEP]"]]] * 3000)
    masked = mask(ids)
    counts = chosen(ids, masked).sum(dim=0)[1:-1].float()
    assert float((counts - counts.mean()).abs().max()) < 5 * float(counts.mean()) ** 0.5
    now = masked.input_ids.flatten()[masked.positions]
    strange = now[(now != VOCAB["[MASK]"]) & (now != masked.targets)]
    assert set(strange.tolist()) >= set(range(max(VOCAB.values()) + 1)) - {VOCAB["[MASK]"]}


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.15, 0.4, 0.99]))
def test_whole_words_are_taken_in_random_order_and_one_too_long_is_skipped(
    seed: int, rate: float
) -> None:
    """As the published code walks through them, a row and a word at a time."""
    ids = random_rows(12, seed=seed)
    picked = chosen(ids, mask(ids, rate, seed, whole_words=True))
    keys = torch.rand(ids.shape, generator=generator(seed))
    for row, own, key in zip(ids, picked, keys, strict=True):
        most = max(1, int(int(text_tokens(row).sum()) * rate + 0.5))
        taken: list[int] = []
        for word in sorted(_words(row), key=lambda pieces: float(key[pieces[0]])):
            if not taken or len(taken) + len(word) <= most:
                taken += word
        assert own.nonzero().flatten().tolist() == sorted(taken)


def test_a_row_cut_out_of_one_long_word_has_its_number_too() -> None:
    ids = torch.tensor([[VOCAB["[CLS]"], *(CONTINUES * 20)[:20], VOCAB["[SEP]"]]] * 3)
    picked = chosen(ids, mask(ids, whole_words=True))
    assert picked.sum(dim=1).tolist() == [3, 3, 3]
    assert not picked[:, [0, -1]].any()


def _words(row: Tensor) -> list[list[int]]:
    """The positions of each word's pieces: from its first piece on to the next word's."""
    text, inside = text_tokens(row), torch.isin(row, torch.tensor(CONTINUES))
    starts = (text & ~inside).nonzero().flatten().tolist()
    bounds = itertools.pairwise([*starts, len(row)])
    return [[at for at in range(first, last) if text[at]] for first, last in bounds]


@pytest.mark.parametrize("whole_words", [False, True])
def test_the_seed_decides(whole_words: bool) -> None:
    ids = random_rows(20)
    first, again, other = (mask(ids, seed=seed, whole_words=whole_words) for seed in (1, 1, 2))
    assert torch.equal(first.input_ids, again.input_ids)
    assert torch.equal(first.positions, again.positions)
    assert not torch.equal(first.positions, other.positions)

"""Masks: how many, which, and what stands in their place."""

from __future__ import annotations

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
@given(st.integers(0, 2**32 - 1))
def test_whole_words_are_chosen_whole(seed: int) -> None:
    ids = random_rows(12, seed=seed)
    picked = chosen(ids, mask(ids, 0.15, seed, whole_words=True))
    continues = torch.isin(ids, torch.tensor(CONTINUES))
    for row, own, inside in zip(ids, picked, continues, strict=True):
        most = max(1, int(int(text_tokens(row).sum()) * 0.15 + 0.5))
        assert own.any()
        words = _words(row, inside)
        taken = [word for word in words if bool(own[word].any())]
        assert all(bool(own[word].all()) for word in taken)
        assert sum(map(len, taken)) <= most or len(taken) == 1


def test_a_row_cut_out_of_one_long_word_has_its_number_too() -> None:
    ids = torch.tensor([[VOCAB["[CLS]"], *(CONTINUES * 20)[:20], VOCAB["[SEP]"]]] * 3)
    picked = chosen(ids, mask(ids, whole_words=True))
    assert picked.sum(dim=1).tolist() == [3, 3, 3]
    assert not picked[:, [0, -1]].any()


def _words(row: Tensor, inside: Tensor) -> list[list[int]]:
    """The positions of each word's pieces. A piece without a word to continue is none."""
    words: list[list[int]] = []
    for at in range(len(row)):
        if not bool(text_tokens(row)[at]):
            words.append([])
        elif bool(inside[at]) and words and words[-1]:
            words[-1].append(at)
        elif not bool(inside[at]):
            words.append([at])
    return [word for word in words if word]


@pytest.mark.parametrize("whole_words", [False, True])
def test_the_seed_decides(whole_words: bool) -> None:
    ids = random_rows(20)
    first, again, other = (mask(ids, seed=seed, whole_words=whole_words) for seed in (1, 1, 2))
    assert torch.equal(first.input_ids, again.input_ids)
    assert torch.equal(first.positions, again.positions)
    assert not torch.equal(first.positions, other.positions)

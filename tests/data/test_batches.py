"""From examples to padded tensors: nothing lost, nothing mixed up, every text encoded once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minbert.data.batches import Dataset, Padded, by_length, pad
from minbert.encoder.config import EncoderConfig
from minbert.finetune.evaluate import encode_texts
from tests.helpers import (
    CPU,
    VOCAB,
    make_dataset,
    make_encoder,
    make_model,
    random_dataset,
    random_texts,
    whole_batch,
)

NAMES = {number: token for token, number in VOCAB.items()}


def words(tokens: Padded, row: int) -> str:
    """The real tokens of a row, in words."""
    ids = tokens.input_ids[row][tokens.attention_mask[row].bool()]
    return " ".join(NAMES[int(number)] for number in ids)


def rows_of(dataset: Dataset, *indices: int) -> Padded:
    tokens = dataset.batch(np.asarray(indices), CPU).tokens
    assert tokens is not None
    return tokens


def test_rows_are_padded_to_the_longest_of_their_batch() -> None:
    data = make_dataset("sst", [("a film",), ("a very good film",), ("good",)], [1, 2, 3])
    tokens = rows_of(data, 0, 1, 2)
    assert tokens.input_ids.shape == (3, 6)
    assert tokens.attention_mask.tolist() == [
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1],
        [1, 1, 1, 0, 0, 0],
    ]
    assert (tokens.input_ids[tokens.attention_mask == 0] == VOCAB["[PAD]"]).all()
    assert words(tokens, 1) == "[CLS] a very good film [SEP]"
    assert tokens.real == int(tokens.attention_mask.sum())
    assert rows_of(data, 0, 2).input_ids.shape == (2, 4)


def test_padding_takes_the_vocabularys_own_number() -> None:
    texts = random_dataset("sst", 5).texts
    tokens = pad(texts, np.arange(5), 57, CPU)
    assert (tokens.input_ids[tokens.attention_mask == 0] == 57).all()
    assert (tokens.input_ids[tokens.attention_mask == 1] != 57).all()


def test_a_pair_is_two_rows_first_all_first_texts_then_all_second_ones() -> None:
    data = make_dataset("sts", [("a man", "a woman"), ("a dog", "a guitar")], [1, 2])
    batch = data.batch(np.asarray([1, 0]), CPU)
    assert batch.tokens is not None
    assert batch.views == 2
    assert [words(batch.tokens, row)[6:-6] for row in range(4)] == [
        *("a dog", "a man"),
        *("a guitar", "a woman"),
    ]
    assert batch.ids == ("1", "0")
    assert batch.labels.tolist() == [2, 1]
    assert not batch.tokens.token_type_ids.any()


def test_a_cross_encoded_pair_is_one_row_with_token_types() -> None:
    data = make_dataset("sts", [("a man", "a woman"), ("a", "b")], [1, 2], cross_encoder=True)
    batch = data.batch(np.asarray([0, 1]), CPU)
    assert batch.tokens is not None
    assert batch.views == 1
    assert words(batch.tokens, 0) == "[CLS] a man [SEP] a woman [SEP]"
    assert batch.tokens.token_type_ids[0].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert batch.tokens.token_type_ids[1].tolist() == [0, 0, 0, 1, 1, 0, 0]  # padding is type 0


def test_every_distinct_text_is_encoded_once() -> None:
    pairs = [("a man", "a dog"), ("a dog", "a man"), ("a man", "a man")]
    data = make_dataset("para", pairs, [1, 0, 1])
    assert len(data.texts.lengths) == 2
    tokens = rows_of(data, 0, 1, 2)
    assert [words(tokens, row)[6:-6] for row in range(6)] == [
        *("a man", "a dog", "a man"),
        *("a dog", "a man", "a man"),
    ]
    together = make_dataset("para", pairs, [1, 0, 1], cross_encoder=True)
    assert len(together.texts.lengths) == 3


def test_a_missing_label_is_nan_and_an_empty_text_still_a_row() -> None:
    data = make_dataset("sst", [("",), ("good",)], [None, 4])
    assert np.isnan(data.labels[0])
    assert data.labels[1] == 4
    assert words(rows_of(data, 0), 0) == "[CLS] [SEP]"


def test_lengths_are_what_a_batch_must_be_padded_to() -> None:
    data = random_dataset("para", 20, seed=3)
    for index in range(20):
        assert rows_of(data, index).input_ids.shape[1] == data.lengths[index]


def test_too_long_texts_are_cut_and_counted() -> None:
    data = make_dataset("sst", [("a " * 30,), ("a",)], [1, 2], max_length=10)
    assert data.texts.truncated == 1
    assert data.lengths.tolist() == [10, 3]
    assert words(rows_of(data, 0), 0).endswith("[SEP]")


@pytest.mark.parametrize("task", ["sst", "para", "sts"])
def test_kept_features_lead_to_the_same_logits_as_tokens(tiny: EncoderConfig, task: str) -> None:
    model = make_model(make_encoder(tiny, initializer_range=0.3))
    data = random_dataset(task, 11)
    kept = data.with_features(encode_texts(model, data, "test"))
    batch = whole_batch(kept)
    assert batch.tokens is None
    assert batch.features.shape == (batch.views, 11, tiny.hidden_size)
    torch.testing.assert_close(model(batch), model(whole_batch(data)), rtol=1e-5, atol=1e-5)


@given(
    lengths=st.lists(st.integers(2, 512), max_size=80),
    most_tokens=st.integers(1, 2000),
)
@settings(max_examples=100, deadline=None)
def test_by_length_has_every_text_once_within_its_limits(
    lengths: list[int], most_tokens: int
) -> None:
    array = np.asarray(lengths, dtype=np.int64)
    batches = list(by_length(array, most_tokens))
    assert sorted(i for batch in batches for i in batch.tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) >= 1
        assert len(batch) == 1 or array[batch].max() * len(batch) <= most_tokens
    longest = [array[batch].max() for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_a_pass_of_short_texts_is_as_large_as_one_of_long_ones() -> None:
    (whole,) = by_length(np.full(3000, 16, dtype=np.int64), 65536)
    assert len(whole) == 3000


@pytest.mark.parametrize(
    ("together", "device", "looked_up"),
    [
        (False, "cpu", True),
        (False, "meta", False),  # as on a GPU
        (True, "meta", True),
    ],
)
def test_token_types_that_are_all_0_are_not_looked_up_on_a_gpu(
    together: bool, device: str, looked_up: bool
) -> None:
    data = random_dataset("para", 4, cross_encoder=together)
    tokens = data.batch(np.arange(4), torch.device(device)).tokens
    assert tokens is not None
    assert tokens.one_type != together
    assert (tokens.types is not None) == looked_up
    again = data.batch(np.arange(4), torch.device(device)).repeated(2).tokens
    assert again is not None and again.one_type == tokens.one_type


def test_the_ids_of_a_batch_follow_its_rows() -> None:
    data = make_dataset("sst", random_texts("sst", 9), [i % 5 for i in range(9)])
    order = np.asarray([8, 0, 3, 3])
    batch = data.batch(order, CPU)
    assert batch.ids == ("8", "0", "3", "3")
    assert batch.labels.tolist() == [3, 0, 3, 3]
    assert batch.tokens is not None
    for row, index in enumerate(order):
        assert words(batch.tokens, row) == words(rows_of(data, int(index)), 0)


def test_parts_cover_a_batch_and_draw_by_seeds_of_their_own() -> None:
    batch = whole_batch(random_dataset("para", 7))
    for size in (2, 3, 7):
        parts = [batch.part(slice(first, None, size), 5) for first in range(size)]
        ids = [name for part, _, _ in parts for name in part.ids]
        assert sorted(ids) == sorted(batch.ids)
        assert sum(share for _, share, _ in parts) == pytest.approx(1)
        assert [share for _, share, _ in parts] == [len(part.ids) / 7 for part, _, _ in parts]
        assert len({5, *(seed for _, _, seed in parts)}) == size + 1


@pytest.mark.parametrize("task", ["sst", "sts"])
@pytest.mark.parametrize(
    "some", [slice(0, 3), slice(3, 6), slice(6, 9), slice(1, None, 4)], ids=str
)
@pytest.mark.parametrize("kept", [False, True])
def test_some_of_a_batch_are_a_batch_of_their_own(task: str, some: slice, kept: bool) -> None:
    """As if they alone had been drawn: ids, labels, texts, padding."""
    data = random_dataset(task, 7, seed=5)
    if kept:
        data = data.with_features(torch.arange(3.0 * len(data.texts.lengths)).reshape(-1, 3))
    ours, expected = whole_batch(data).part(some, 0)[0], data.batch(np.arange(7)[some], CPU)
    assert (ours.ids, ours.views) == (expected.ids, expected.views)
    assert torch.equal(ours.labels, expected.labels)
    if kept:
        assert torch.equal(ours.features, expected.features)
        return
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert torch.equal(getattr(ours.tokens, name), getattr(expected.tokens, name))
    assert ours.tokens.lengths.tolist() == expected.tokens.lengths.tolist()

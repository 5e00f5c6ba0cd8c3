"""Attention on one example: shares of one, over the text's own tokens, of what is pooled."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from minbert.data.batches import pad
from minbert.encoder.attention import reference_attention
from minbert.encoder.config import EncoderConfig
from minbert.finetune.report.attended import of_texts
from tests.helpers import make_encoder, make_model, random_dataset


def tokens_of(count: int):
    dataset = random_dataset("sts", count)
    texts = dataset.rows[0] if count == 1 else np.arange(len(dataset.texts.lengths))
    return pad(dataset.texts, texts, dataset.pad_id, torch.device("cpu"))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_each_layer_s_attention_to_a_text_adds_up_to_one(pooling: str, tiny: EncoderConfig) -> None:
    encoder = make_encoder(tiny, initializer_range=0.5)
    model, tokens = make_model(encoder, pooling=pooling).eval(), tokens_of(1)
    before, logits = encoder.attention, model.pool(tokens)
    layers = of_texts(model, tokens, pooling)
    assert len(layers) == tiny.num_hidden_layers
    for layer in layers:
        assert [len(weights) for weights in layer] == tokens.lengths.tolist()
        for weights in layer:
            torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
    assert encoder.attention is before
    torch.testing.assert_close(model.pool(tokens), logits)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_padding_changes_nothing(pooling: str, tiny: EncoderConfig) -> None:
    model = make_model(make_encoder(tiny, initializer_range=0.5), pooling=pooling)
    dataset = random_dataset("sts", 3)
    lengths = dataset.texts.lengths
    assert len(set(lengths.tolist())) > 1
    together = of_texts(model, tokens_of(3), pooling)
    for number in range(len(lengths)):
        one = pad(dataset.texts, np.array([number]), dataset.pad_id, torch.device("cpu"))
        for layer, alone in zip(together, of_texts(model, one, pooling), strict=True):
            torch.testing.assert_close(layer[number], alone[0], atol=1e-5, rtol=1e-4)


def test_it_is_the_attention_that_the_layers_compute(
    tiny: EncoderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values that tell the tokens apart show what each head takes of each."""
    encoder = make_encoder(tiny, initializer_range=0.5)
    model, tokens = make_model(encoder, pooling="cls"), tokens_of(1)
    seen = []

    def watched(query, key, value, mask, rate):
        length = key.size(-2)
        one_hot = torch.eye(length).expand(*key.shape[:2], length, length)
        seen.append(reference_attention(query, key, one_hot, mask, 0.0)[:, :, 0].mean(dim=1))
        return reference_attention(query, key, value, mask, rate)

    monkeypatch.setattr(encoder, "attention", encoder.attention._replace(scoring=watched))
    with torch.no_grad():
        model.eval().pool(tokens, scoring=True)
    layers = of_texts(model, tokens, "cls")
    for layer, expected in zip(layers, seen, strict=True):
        for number, weights in enumerate(layer):
            torch.testing.assert_close(weights, expected[number, : len(weights)])

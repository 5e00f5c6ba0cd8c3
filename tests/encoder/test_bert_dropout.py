"""Dropout of the encoder: where it is published to be, replayable, off when scoring."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert.encoder import dropout
from minbert.encoder.attention import AttentionChoice
from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.encoder.dropout import Dropout
from minbert.support.randomness import seeded
from tests.encoder.encoders import (
    assert_agree,
    each_path,
    no_dropout,
    published_model,
    random_batch,
)


def test_dropout_stands_where_published(tiny: EncoderConfig) -> None:
    """Hidden dropout after the embeddings and twice a layer; attention dropout on the weights."""
    config = dataclasses.replace(tiny, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.4)
    calls: list[tuple[str, float]] = []

    def record(_q: Tensor, _k: Tensor, value: Tensor, _mask: Tensor, rate: float) -> Tensor:
        calls.append(("attention", rate))
        return value

    model = BertModel(config)
    model.attention = AttentionChoice(default=record, scoring=record)
    for module in model.modules():
        if isinstance(module, Dropout):
            module.register_forward_hook(lambda m, *_: calls.append(("hidden", m.p)))
    layer = [("attention", 0.4), ("hidden", 0.2), ("hidden", 0.2)]
    model.train()(**random_batch(config))
    assert calls == [("hidden", 0.2), *layer * config.num_hidden_layers]
    calls.clear()
    model.eval()(**random_batch(config))
    assert {rate for kind, rate in calls if kind == "attention"} == {0.0}


def test_dropout_is_as_published(
    tiny_folder: Path, tiny: EncoderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With torch's masks, the same draws in the same order, training outputs agree too."""
    monkeypatch.setattr(dropout, "keep_mask", lambda x, rate: F.dropout(torch.ones_like(x), rate))
    config = dataclasses.replace(tiny, attention_probs_dropout_prob=0.3, hidden_dropout_prob=0.3)
    ours = BertModel(config, "reference").double()
    ours.load_state_dict(BertModel.from_pretrained(tiny_folder).state_dict())
    theirs = published_model(tiny_folder).double()
    for module in theirs.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    batch = random_batch(config, (6, 6, 6))
    outs = []
    for model in (ours, theirs):
        with seeded(11, torch.device("cpu")):
            outs.append(model.train()(**batch))
    assert_agree(outs[0], outs[1], batch["attention_mask"], 1e-12)
    plain = ours.eval()(**batch)
    assert (plain["pooler_output"] - outs[0]["pooler_output"]).abs().max() > 1e-3


@each_path
def test_evaluation_has_no_dropout(tiny: EncoderConfig, attention: str) -> None:
    model, batch = BertModel(tiny, attention).eval(), random_batch(tiny)
    first, again = (model(**batch)["pooler_output"] for _ in range(2))
    assert torch.equal(first, again)
    still = BertModel(no_dropout(tiny), attention)
    still.load_state_dict(model.state_dict())
    assert torch.equal(still.train()(**batch)["pooler_output"], first)


@each_path
def test_masks_replay_and_reach_the_gradients(tiny: EncoderConfig, attention: str) -> None:
    model, batch = BertModel(tiny, attention).train(), random_batch(tiny)
    runs = []
    for seed in (1, 1, 2):
        with seeded(seed, torch.device("cpu")):
            out = model(**batch)["pooler_output"]
        runs.append([out, *torch.autograd.grad(out.sum(), list(model.layers.parameters()))])
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not torch.equal(runs[0][0], runs[2][0])


def test_a_loaded_encoder_has_dropout_off(tiny_folder: Path) -> None:
    encoder = BertModel.from_pretrained(tiny_folder)
    assert not any(module.training for module in encoder.modules())

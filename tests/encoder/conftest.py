"""Tiny encoders in folders: one of the reference library, and one of ours."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig


@pytest.fixture
def tiny_folder(tmp_path: Path, tiny: EncoderConfig) -> Path:
    """A folder written by the reference library, with every weight and bias random."""
    from transformers import BertConfig
    from transformers import BertModel as Published

    config = BertConfig(**dataclasses.asdict(tiny), hidden_act="gelu")
    model = Published(config)
    with torch.no_grad():
        for param in model.parameters():
            param.normal_(std=0.3)
    model.save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    return tmp_path / "theirs"


@pytest.fixture
def model(tiny: EncoderConfig) -> BertModel:
    """A tiny encoder in which no two parameters are alike."""
    model = BertModel(tiny)
    with torch.no_grad():
        for param in model.parameters():
            param.normal_()
    model.vocab_files = {"vocab.txt": b"[PAD]\n[UNK]\r\n\xc3\xa9\n"}
    return model


@pytest.fixture
def folder(model: BertModel, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "published")
    return tmp_path / "published"

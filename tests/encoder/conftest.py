"""An encoder of the reference library."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

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

"""A published folder's tensors: how tests alter them, compare them, and are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from minbert.encoder.bert import BertModel
from minbert.support.errors import InputError

Tensors = dict[str, Tensor]
WORDS = "embeddings.word_embeddings.weight"


def edit(folder: Path, change: Callable[[Tensors], Any]) -> None:
    """Rewrite the tensors of a folder; `change` alters them in place or returns others."""
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors) or tensors, folder / "model.safetensors", metadata={"format": "pt"})


def assert_same(a: BertModel, b: BertModel) -> None:
    """Bitwise, every tensor."""
    assert a.config == b.config and a.state_dict().keys() == b.state_dict().keys()
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[name]), name


def refusal(folder: Path) -> str:
    """The one line with which a folder is refused, which names the place."""
    with pytest.raises(InputError) as refused:
        BertModel.from_pretrained(folder)
    assert "\n" not in str(refused.value) and str(folder) in str(refused.value)
    return str(refused.value)

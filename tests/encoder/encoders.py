"""The published implementation, random inputs, and when two encoders agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from minbert.encoder.config import EncoderConfig

Batch = dict[str, Tensor]
PATHS = ("fused", "reference")
each_path = pytest.mark.parametrize("attention", PATHS)


def published_model(folder: Path) -> Any:
    """The same folder in the reference library."""
    from transformers import BertModel as Published
    from transformers.utils import logging

    logging.disable_progress_bar()
    return Published.from_pretrained(folder, attn_implementation="eager").eval()


def batch_of(rows: list[list[int]], length: int = 0) -> Batch:
    """Padded to the longest row, or to `length`; the second half of a row is type 1."""
    length = max(length, *(len(row) for row in rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])[:, None]
    places = torch.arange(length)
    return {
        "input_ids": ids,
        "attention_mask": (places < lengths).long(),
        "token_type_ids": ((places >= lengths // 2) & (places < lengths)).long(),
    }


def random_batch(config: EncoderConfig, lengths: tuple[int, ...] = (9, 5, 1, 7)) -> Batch:
    return batch_of([torch.randint(1, config.vocab_size, (n,)).tolist() for n in lengths])


def assert_agree(ours: dict[str, Tensor], theirs: Any, mask: Tensor, tolerance: float) -> None:
    """Hidden states of real tokens, and the pooled vectors."""
    for name, real in (("last_hidden_state", mask.bool()), ("pooler_output", slice(None))):
        found, expected = ours[name][real], theirs[name][real]
        assert (found - expected).abs().max().item() < tolerance, name


def no_dropout(config: EncoderConfig) -> EncoderConfig:
    return config.with_dropout(0.0)

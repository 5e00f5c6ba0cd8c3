"""RoBERTa's and XLM-R's heads have the pooler in them, and answer alike in the other library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.export.__main__ import export
from minbert.predict import load
from minbert.tasks.registry import TASKS
from tests.data.other_tokenizers import roberta, xlm_roberta
from tests.export.test_main import assert_same_answers, random_rows
from tests.helpers import finished_run

MAKERS: dict[str, Callable[..., Path]] = {"roberta": roberta, "xlm-roberta": xlm_roberta}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_classifier_answers_alike(tmp_path: Path, kind: str) -> None:
    folder = MAKERS[kind](tmp_path / "encoder", **({"saved": False} if kind == "roberta" else {}))
    torch.manual_seed(0)
    config = EncoderConfig(
        vocab_size=512,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=40,
        type_vocab_size=1,
        pad_token_id=1,
        layer_norm_eps=1e-5,
        model_type=kind,
    )
    BertModel(config).save_pretrained(folder)
    run = finished_run(tmp_path, cross_encoder=True)
    ask = load(run)
    for name in ("sst", "para", "sts"):
        (written,) = export(run, tmp_path / f"out-{name}", "transformers", [name])
        assert_same_answers(ask, name, written, random_rows(TASKS[name].is_pair))

"""A folder whose tensors, settings or files do not fit is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.encoder.published_folders import WORDS, Tensors, edit, refusal

NORM = "encoder.layer.1.attention.output.LayerNorm"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop(WORDS), "missing: word_embeddings.weight"),
        (lambda t: t.pop(f"{NORM}.bias"), "missing: layers.1.attention_norm.bias"),
        (
            lambda t: t.update({"embeddings.project.weight": torch.ones(2)}),
            "unexpected: embeddings.project.weight",
        ),
        (
            lambda t: t.update({"encoder.layer.2.output.dense.bias": torch.ones(16)}),
            "unexpected: layers.2.output.bias",
        ),
        (
            lambda t: t.update({"pooler.dense.scale": torch.ones(2)}),
            "unexpected: pooler.dense.scale",
        ),
        (
            lambda t: t.update({WORDS: torch.ones(61, 16)}),
            r"mis-shaped: word_embeddings.weight (61, 16), expected (60, 16)",
        ),
        (
            lambda t: t.update({"pooler.dense.bias": torch.ones(16, 1)}),
            "mis-shaped: pooler.bias (16, 1), expected (16,)",
        ),
        (lambda t: t[WORDS][3, 4].fill_(torch.nan) and None, "not finite: word_embeddings.weight"),
        (lambda t: t["pooler.dense.bias"][0].fill_(-torch.inf) and None, "not finite: pooler.bias"),
        (lambda t: t.update({f"bert.{WORDS}": torch.ones(60, 16)}), "twice"),
        (lambda t: t.update({f"{NORM}.gamma": torch.ones(16)}), "twice"),
    ],
)
def test_tensors_that_do_not_fit(
    folder: Path, change: Callable[[Tensors], Any], words: str
) -> None:
    def apply(tensors: Tensors) -> None:
        change(tensors)

    edit(folder, apply)
    assert words in refusal(folder)


def test_a_half_that_overflowed_is_not_finite(folder: Path) -> None:
    edit(folder, lambda t: t.update({WORDS: torch.full((60, 16), 1e5).half()}))
    assert "not finite: word_embeddings.weight" in refusal(folder)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool])
def test_weights_are_floating_point_numbers(folder: Path, dtype: torch.dtype) -> None:
    edit(folder, lambda t: t.update({"pooler.dense.bias": torch.ones(16).to(dtype)}))
    assert "pooler.bias" in refusal(folder)


def test_all_complaints_come_at_once_but_five_names_at_most(folder: Path) -> None:
    def change(tensors: Tensors) -> None:
        for name in list(tensors)[:20]:
            del tensors[name]

    edit(folder, change)
    assert "missing: " in (words := refusal(folder)) and words.endswith("and 15 more")
    edit(folder, lambda t: {**t, **{f"encoder.x.{i}": torch.ones(1) for i in range(9)}})
    words = refusal(folder)
    assert "and 18 more; unexpected: encoder.x.0, encoder.x.1 and 7 more" in words


def test_a_folder_of_another_size(folder: Path) -> None:
    keys = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**keys, "num_hidden_layers": 3}))
    assert "missing: layers.2." in refusal(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "relu"),
        ("model_type", "albert"),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
    ],
)
def test_another_architecture_is_refused_by_name(folder: Path, key: str, value: Any) -> None:
    keys = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**keys, key: value}))
    assert key in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "model.safetensors"])
def test_missing_files(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"lacks {name}" in refusal(folder)


def test_no_folder(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    assert "no such folder" in refusal(tmp_path / "file")

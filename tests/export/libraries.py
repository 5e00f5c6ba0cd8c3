"""The two libraries as oracles: what they answer from an exported folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

Rows = Sequence[tuple[str, ...]]


def tokens(folder: Path, rows: Rows) -> Any:
    """The rows as the folder's tokenizer gives them, cut where it says."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [list(column) for column in zip(*rows, strict=True)]
    return tokenizer(*texts, padding=True, truncation=True, return_tensors="pt")


def loaded(folder: Path, kind: str) -> Any:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    return getattr(transformers, kind).from_pretrained(folder).eval()


def classified(folder: Path, rows: Rows) -> tuple[Tensor, Any]:
    """Logits (n, k) of the rows, and the model's configuration."""
    model = loaded(folder, "AutoModelForSequenceClassification")
    with torch.inference_mode():
        return model(**tokens(folder, rows)).logits, model.config


def embedded(folder: Path, texts: Sequence[str]) -> Tensor:
    """Vectors (n, H) of texts, by the modules that `modules.json` lists, one after the other."""
    first, *others = json.loads((folder / "modules.json").read_text())
    assert (first["path"], first["type"]) == ("", "sentence_transformers.models.Transformer")
    given = tokens(folder, [(text,) for text in texts])
    with torch.inference_mode():
        hidden = loaded(folder, "AutoModel")(**given).last_hidden_state
        for module in others:
            config = json.loads((folder / module["path"] / "config.json").read_text())
            if module["type"].endswith(".Pooling"):
                hidden = pooled(config, hidden, given["attention_mask"])
            else:
                hidden = dense(config, folder / module["path"], hidden)
    return hidden


def pooled(config: dict[str, Any], hidden: Tensor, mask: Tensor) -> Tensor:
    (mode,) = [name for name, on in config.items() if name.startswith("pooling_mode_") and on]
    if mode == "pooling_mode_cls_token":
        return hidden[:, 0]
    assert mode == "pooling_mode_mean_tokens"
    real = mask.unsqueeze(-1).float()
    return (hidden * real).sum(dim=1) / real.sum(dim=1)


def dense(config: dict[str, Any], folder: Path, vectors: Tensor) -> Tensor:
    assert config["activation_function"] == "torch.nn.modules.activation.Tanh"
    layer = nn.Linear(config["in_features"], config["out_features"], bias=config["bias"])
    stored = load_file(folder / "model.safetensors")
    layer.load_state_dict({name.removeprefix("linear."): t for name, t in stored.items()})
    return torch.tanh(layer(vectors))

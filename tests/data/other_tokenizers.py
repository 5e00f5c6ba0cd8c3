"""Folders with RoBERTa's and XLM-R's tokenizers, trained on the sample, and tiny encoders."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from tests.data.tokenizer_folders import write

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SAMPLE = Path(__file__).parents[2] / "data" / "sample"


@cache
def corpus() -> tuple[str, ...]:
    return tuple((SAMPLE / "ids-sst-dev.csv").read_text(encoding="utf-8").splitlines()[1:400])


@cache
def byte_level_parts() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-level vocabulary of 500 pieces, and its merges."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    trained.train_from_iterator(corpus(), trainer)
    model = json.loads(trained.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


@cache
def unigram_pieces() -> tuple[tuple[str, float], ...]:
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    trained.train_from_iterator(corpus(), trainer)
    pieces = json.loads(trained.to_str())["model"]["vocab"]
    assert [piece for piece, _ in pieces[:5]] == SPECIAL
    return tuple((piece, score) for piece, score in pieces)


def roberta(folder: Path, *, saved: bool, **settings: Any) -> Path:
    """A folder of RoBERTa's two files, or of what the library saves today."""
    from transformers import RobertaTokenizer

    vocab, merges = byte_level_parts()
    folder.mkdir(parents=True, exist_ok=True)
    if saved:
        add = settings.pop("add", [])
        reference = RobertaTokenizer(vocab=vocab, merges=merges, **settings)
        reference.add_tokens(add)
        reference.save_pretrained(folder)
        assert not (folder / "vocab.json").exists()
        return write(folder, config={"model_type": "roberta"})
    (folder / "vocab.json").write_text(json.dumps(vocab))
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return write(folder, config={"model_type": "roberta"}, tokenizer_config=settings or None)


def xlm_roberta(folder: Path, **settings: Any) -> Path:
    from transformers import XLMRobertaTokenizer

    add = settings.pop("add", [])
    reference = XLMRobertaTokenizer(vocab=list(unigram_pieces()), **settings)
    reference.add_tokens(add)
    reference.save_pretrained(folder)
    return write(folder, config={"model_type": "xlm-roberta"})


def save_other_encoder(folder: Path, kind: str) -> Path:
    """A tiny random encoder of a `model_type`, with the tokenizer that goes with it.

    RoBERTa's has the two files of the published ones; BERT's has XLM-R's pieces, as some have.
    """
    roberta(folder, saved=False) if kind == "roberta" else xlm_roberta(folder)
    torch.manual_seed(0)
    shape = {"vocab_size": 512, "hidden_size": 16, "intermediate_size": 32}
    depth = {"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 40}
    numbers = {"type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}
    config = EncoderConfig(**shape, **depth, **numbers, model_type=kind)  # type: ignore[arg-type]
    BertModel(config).save_pretrained(folder)
    return folder

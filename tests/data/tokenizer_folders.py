"""Folders with a tokenizer's files, and how the reference library and ours read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from minbert.data.subwords import SPECIAL_TOKENS
from minbert.data.tokenizer import WordPieceTokenizer
from minbert.support.errors import InputError

WORDS = [
    "a",
    "the",
    "film",
    "is",
    "good",
    "bad",
    "times",
    "in",
    "covid",
    "caf",
    "é",
    "café",
    "##s",
    "##time",
    "naive",
    "Film",
    "e1",
    "[",
    "]",
    ".",
    "!",
]
VOCAB = [*SPECIAL_TOKENS, *WORDS]
TEXTS = [
    ("A Film is good!", "in covid [E1]times[/E1] [e1] <ent> films"),
    ("Café naïve [MASK] [CLS] <cls> <mask> covidtime",),
    ("[unknown] new york, [E2][E1] a <s> b </s> <pad>",),
    ("",),
]
BERT = {"model_type": "bert"}


def write(folder: Path, **files: Any) -> Path:
    """A folder of JSON files by name; `vocab` are the lines of vocab.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    if (vocab := files.pop("vocab", None)) is not None:
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in vocab))
    for name, value in {"config": BERT, **files}.items():
        if value is not None:
            (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def library_ids(folder: Path) -> list[list[int]]:
    from transformers import AutoTokenizer

    reference = AutoTokenizer.from_pretrained(folder)
    return [reference(*texts)["input_ids"] for texts in TEXTS]


def our_ids(folder: Path, embeddings: int | None = None) -> list[list[int]]:
    ours = WordPieceTokenizer.from_folder(folder, 64, embeddings)
    return [ours.encode([texts]).ids.tolist() for texts in TEXTS]


def refusal(folder: Path, embeddings: int | None = None) -> str:
    with pytest.raises(InputError) as refused:
        WordPieceTokenizer.from_folder(folder, 64, embeddings)
    assert "\n" not in str(refused.value) and str(folder) in str(refused.value)
    return str(refused.value)


def saved_by_the_library(folder: Path, vocab: list[str], **settings: Any) -> Path:
    """A folder as the library saves it today: tokenizer.json and no vocab.txt."""
    from transformers import BertTokenizer

    add = settings.pop("add", [])
    reference = BertTokenizer(vocab={t: i for i, t in enumerate(vocab)}, **settings)
    reference.add_tokens(add)
    reference.save_pretrained(folder)
    assert not (folder / "vocab.txt").exists()
    return write(folder)

"""Folders of many kinds: the ids are the reference library's."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer

from minbert.data.subwords import SPECIAL_TOKENS
from tests.data.tokenizer_folders import (
    TEXTS,
    VOCAB,
    library_ids,
    our_ids,
    saved_by_the_library,
    write,
)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_lower_case": False},
        {"strip_accents": False},
        {"tokenize_chinese_chars": False, "strip_accents": True},
        {"add": ["[E1]", "[/E1]", "New York"]},
        {"add": [AddedToken("[E1]", special=True), AddedToken("covid", single_word=True)]},
        {"extra_special_tokens": ["<ent>", "[E2]"]},
        {"cls_token": "<cls>", "mask_token": "<mask>", "pad_token": "<pad>"},
        {"bos_token": "<s>", "eos_token": "</s>"},
    ],
)
def test_a_folder_that_the_library_saved(tmp_path: Path, settings: dict[str, Any]) -> None:
    new = [settings[key] for key in ("cls_token", "mask_token", "pad_token") if key in settings]
    folder = saved_by_the_library(tmp_path / "saved", [*VOCAB, *new], **settings)
    assert our_ids(folder) == library_ids(folder)


FILES: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "added later": {"added_tokens": {"[E1]": len(VOCAB), "[/E1]": len(VOCAB) + 1}},
    "added out of order": {"added_tokens": {"[/E1]": len(VOCAB) + 1, "[E1]": len(VOCAB)}},
    "added and special": {
        "added_tokens": {"[E1]": len(VOCAB), "<ent>": len(VOCAB) + 1},
        "special_tokens_map": {"additional_special_tokens": ["[E1]"]},
    },
    "special, without ids": {
        "tokenizer_config": {"additional_special_tokens": ["<ent>", "[E1]", "covid"]}
    },
    "special, of their own keys": {
        "tokenizer_config": {"entity_token": "<ent>", "bos_token": "<s>", "eos_token": "</s>"}
    },
    "special, by name": {"tokenizer_config": {"extra_special_tokens": {"x_token": "[E2]"}}},
    "declared as objects": {
        "tokenizer_config": {
            "mask_token": {"__type": "AddedToken", "content": "[MASK]", "lstrip": True},
            "additional_special_tokens": [{"__type": "AddedToken", "content": "[E1]"}],
        }
    },
    "a decoder of the last version": {
        "tokenizer_config": {
            "do_lower_case": False,
            "added_tokens_decoder": {
                **{str(i): {"content": t, "special": True} for i, t in enumerate(SPECIAL_TOKENS)},
                str(len(VOCAB)): {"content": "[E1]", "normalized": True, "special": False},
            },
        }
    },
    "specials are split": {"tokenizer_config": {"split_special_tokens": True}},
    "an older map": {"special_tokens_map": {"cls_token": "the", "sep_token": {"content": "."}}},
    "a fast class": {"tokenizer_config": {"tokenizer_class": "BertTokenizerFast"}},
}


@pytest.mark.parametrize("kind", FILES)
def test_a_folder_of_several_files(tmp_path: Path, kind: str) -> None:
    folder = write(tmp_path / "files", vocab=VOCAB, **FILES[kind])
    assert our_ids(folder) == library_ids(folder)


@pytest.mark.parametrize("named", ["PreTrainedTokenizerFast", "TokenizersBackend"])
@pytest.mark.parametrize("more", [{}, {"additional_special_tokens": ["<ent>"]}])
def test_a_general_class_takes_tokenizer_json_as_it_is(
    tmp_path: Path, named: str, more: dict[str, Any]
) -> None:
    """A call of its writer left a limit and padding in the file; they are not the encoder's."""
    folder = saved_by_the_library(tmp_path / "saved", VOCAB, do_lower_case=False, add=["[E1]"])
    path = folder / "tokenizer.json"
    written = Tokenizer.from_file(str(path))
    written.enable_truncation(4)
    written.enable_padding(length=40)
    written.save(str(path))
    changed = {"tokenizer_class": named, "do_lower_case": True, **more}
    write(folder, tokenizer_config=changed)
    from transformers import AutoTokenizer

    reference = AutoTokenizer.from_pretrained(folder)
    expected = [reference(*texts, padding=False, truncation=False)["input_ids"] for texts in TEXTS]
    assert our_ids(folder) == expected


def test_random_folders(tmp_path: Path) -> None:
    """Any of the files, declared tokens in any of them, in vocabularies that have them or not."""
    rng = random.Random(3)
    names = ["[E1]", "[/E1]", "<ent>", "<s>", "covid", "new york", "[E2]", "<cls>"]
    for number in range(60):
        vocab = VOCAB + rng.sample(names, rng.randint(0, 3)) * (rng.random() < 0.5)
        vocab = list(dict.fromkeys(vocab))
        new = [name for name in rng.sample(names, rng.randint(0, 4)) if name not in vocab]
        added = {name: len(vocab) + i for i, name in enumerate(new)}
        declared: dict[str, Any] = {"do_lower_case": rng.random() < 0.5}
        for key in ("bos_token", "thing_token", "mask_token"):
            if rng.random() < 0.3:
                declared[key] = rng.choice(names)
        if rng.random() < 0.5:
            declared["additional_special_tokens"] = rng.sample(names, rng.randint(0, 3))
        later = {key: declared.pop(key) for key in list(declared) if rng.random() < 0.2}
        later.pop("do_lower_case", None)
        later.pop("thing_token", None)
        files = {"tokenizer_config": declared, "added_tokens": added or None}
        if rng.random() < 0.7:
            files["special_tokens_map"] = later
        folder = write(tmp_path / str(number), vocab=vocab, **files)
        assert our_ids(folder) == library_ids(folder), files

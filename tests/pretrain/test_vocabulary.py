"""Training a vocabulary: size, determinism, what it may see."""

from __future__ import annotations

from pathlib import Path

import pytest

from minbert.data.subwords import SPECIAL_TOKENS
from minbert.data.tokenizer import WordPieceTokenizer
from minbert.pretrain import vocabulary
from minbert.pretrain.corpus import is_held_out
from minbert.pretrain.vocabulary import cached_vocabulary, train_vocabulary
from minbert.support.errors import InputError
from tests.pretrain.texts import random_documents, write_documents

SENTENCES = [s for document in random_documents(300) for s in document]


def tokens(files: dict[str, bytes]) -> list[str]:
    return files["vocab.txt"].decode().splitlines()


def test_it_has_the_size_asked_for_and_the_special_tokens_first() -> None:
    made = tokens(train_vocabulary(lambda: SENTENCES, 90))
    assert len(made) == len(set(made)) == 90
    assert made[: len(SPECIAL_TOKENS)] == list(SPECIAL_TOKENS)


def test_the_same_text_gives_the_same_bytes() -> None:
    first, *others = (train_vocabulary(lambda: SENTENCES, 90) for _ in range(8))
    assert all(other == first for other in others)


def test_frequent_words_are_one_token() -> None:
    text = ["Überall the the CAT sat"] * 5000 + [s.replace("a", "z") for s in SENTENCES]
    made = tokens(train_vocabulary(lambda: text, 90))
    assert {"the", "cat", "sat", "uberall"} <= set(made)


@pytest.mark.parametrize("size", [20, 5000])
def test_a_size_that_the_text_does_not_make(size: int) -> None:
    with pytest.raises(InputError, match=f"--vocab_size {size}"):
        train_vocabulary(lambda: SENTENCES, size)


def test_the_tokenizer_reads_it(tmp_path: Path) -> None:
    for name, content in train_vocabulary(lambda: SENTENCES, 90).items():
        (tmp_path / name).write_bytes(content)
    tokenizer = WordPieceTokenizer.from_folder(tmp_path, 32)
    unknown = tokenizer.vocab["[UNK]"]
    ids = tokenizer.encode([(s,) for s in (*SENTENCES, "Film PLOT")], special=False).ids
    assert unknown not in ids


def test_held_out_documents_are_not_seen(tmp_path: Path) -> None:
    documents = random_documents(300)
    secret = next(d for d in ([f"zyxw {n}"] * 60 for n in range(999)) if is_held_out(d, 0.2))
    path = write_documents(tmp_path / "a.txt", [*documents, secret])
    folder = cached_vocabulary(tmp_path / "cache", [path], 120, 0.2)
    made = (folder / "vocab.txt").read_text()
    assert "quickly" in made
    assert "##x" not in made


def test_it_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_documents(tmp_path / "a.txt", random_documents(300))
    first = cached_vocabulary(tmp_path / "cache", [path], 90, 0.2)
    monkeypatch.setattr(vocabulary, "train_vocabulary", None)
    assert cached_vocabulary(tmp_path / "cache", [path], 90, 0.2) == first
    with pytest.raises(TypeError):
        cached_vocabulary(tmp_path / "cache", [path], 91, 0.2)


def test_a_vocabulary_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = write_documents(tmp_path / "a.txt", random_documents(3))
    with pytest.raises(InputError):
        cached_vocabulary(tmp_path / "cache", [path], 9000, 0.2)
    assert not list((tmp_path / "cache").glob("*"))

"""Pretraining further from folders of other kinds than ours, and from hostile ones."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from minbert.encoder.bert import BertModel
from minbert.pretrain import build, cache, vocabulary
from minbert.pretrain.sentences import RowRecipe, cached_sentences
from minbert.pretrain.shards import Recipe, cached
from minbert.pretrain.vocabulary import cached_vocabulary
from minbert.support.errors import InputError
from tests.helpers import TINY, VOCAB, make_tokenizer, save_encoder
from tests.pretrain.running import complaint, run

START = ("--weights", "begun")
OWN_NAMES = {"[CLS]": "<cls>", "[SEP]": "<sep>", "[MASK]": "<mask>", "[PAD]": "<pad>"}


def configure(**changes: Any) -> None:
    keys = json.loads(Path("begun/config.json").read_text())
    Path("begun/config.json").write_text(json.dumps({**keys, **changes}))


@pytest.mark.parametrize(
    "changes", [{"vocab_size": 2**24, "hidden_size": 2**24}, {"intermediate_size": 2**24}]
)
def test_a_shape_that_the_file_has_not_takes_no_memory(
    place: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, int]
) -> None:
    save_encoder(place / "begun", TINY)
    configure(**changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert run("--steps", "0", start=START) == 2
    assert "mis-shaped" in complaint(capsys)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # kilobytes


def test_going_on_with_special_tokens_of_other_names(place: Path) -> None:
    """The library reads the written folder, and its ids are those of the old one."""
    from transformers import AutoTokenizer, BertTokenizer

    save_encoder(place / "begun", TINY, vocab_size=len(VOCAB) + 1)
    words = {OWN_NAMES.get(token, token): number for token, number in VOCAB.items()}
    names = {f"{token[1:-1].lower()}_token": name for token, name in OWN_NAMES.items()}
    tokenizer = BertTokenizer(vocab=words, **names)
    tokenizer.add_tokens(["[E1]"])
    Path("begun/vocab.txt").unlink()
    tokenizer.save_pretrained("begun")
    assert run("--steps", "3", start=START) == 0
    again = AutoTokenizer.from_pretrained("out/encoder")
    text = "the film [E1] is good <mask>"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    BertModel.from_pretrained("out/encoder")


def test_a_text_that_changes_while_it_is_read_stops_the_run(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill = build.cached

    def then_write(*arguments: Any) -> Path:
        packed = fill(*arguments)
        with Path("text.txt").open("a") as stream:
            stream.write("one more sentence\n")
        return packed

    monkeypatch.setattr(build, "cached", then_write)
    assert run("--steps", "3") == 2
    assert "text.txt: was changed while it was read" in complaint(capsys)


@pytest.mark.parametrize(
    ("what", "reader"), [("rows", cache), ("sentences", cache), ("vocabulary", vocabulary)]
)
def test_nothing_is_kept_under_the_hash_of_a_text_that_was_written_over(
    place: Path, monkeypatch: pytest.MonkeyPatch, what: str, reader: ModuleType
) -> None:
    """The first text comes back, and what is made of it is what would have been made at once."""
    path, read, before = Path("text.txt"), reader.read_documents, Path("text.txt").read_text()

    def written_over(*arguments: Any) -> Any:
        path.write_text(before.replace("film", "plot"))
        return read(*arguments)

    def make(place: str) -> dict[str, bytes]:
        store, texts, tokenizer = Path(place), [path], make_tokenizer(2**20)
        folder = {
            "rows": lambda: cached(store, texts, tokenizer, Recipe(24, True, 0.2, 0)),
            "sentences": lambda: cached_sentences(store, texts, tokenizer, RowRecipe(0.0, 0.2, 0)),
            "vocabulary": lambda: cached_vocabulary(store, texts, 90, 0.2),
        }[what]()
        return {file.name: file.read_bytes() for file in folder.iterdir()}

    with monkeypatch.context() as during:
        during.setattr(reader, "read_documents", written_over)
        with pytest.raises(InputError, match=r"text.txt: was changed while it was read"):
            make("cache")
    path.write_text(before)
    assert make("cache") == make("fresh")

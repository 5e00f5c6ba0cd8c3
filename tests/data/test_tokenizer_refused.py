"""Folders whose tokenizer is not ours, contradicts itself, is damaged, padded or cut."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from minbert.data.tokenizer import WordPieceTokenizer
from minbert.data.tokenizer_folder import CLASSES, _bert
from minbert.support.errors import InputError
from tests.data.tokenizer_folders import (
    VOCAB,
    library_ids,
    our_ids,
    refusal,
    saved_by_the_library,
    write,
)

NAMES = ["tokenizer", "tokenizer_config", "added_tokens", "special_tokens_map"]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A folder with tokenizer.json and the vocab.txt that goes with it."""
    folder = saved_by_the_library(tmp_path / "whole", VOCAB, add=["[E1]"])
    return write(folder, vocab=VOCAB)


# ----------------------------------------------------------------------------- not ours


@pytest.mark.parametrize("named", ["BertJapaneseTokenizer", "CamembertTokenizerFast", "My.Own"])
@pytest.mark.parametrize("place", ["tokenizer_config", "config"])
def test_another_class_is_refused_by_name(tmp_path: Path, named: str, place: str) -> None:
    folder = write(tmp_path / "other", vocab=VOCAB, **{place: {"tokenizer_class": named}})
    assert f"tokenizer_class {named!r} is not implemented" in refusal(folder)


def test_the_tokenizers_own_file_names_the_class(tmp_path: Path) -> None:
    named = {"tokenizer_class": "BertTokenizer"}
    folder = write(
        tmp_path / "a", vocab=VOCAB, config={"tokenizer_class": "X"}, tokenizer_config=named
    )
    WordPieceTokenizer.from_folder(folder, 16)


def test_code_of_its_own_is_refused(tmp_path: Path) -> None:
    own = {"auto_map": {"AutoTokenizer": ["theirs.Tokenizer", None]}}
    assert "theirs.Tokenizer" in refusal(write(tmp_path / "a", vocab=VOCAB, tokenizer_config=own))


@pytest.mark.parametrize("named", [name for name, build in CLASSES.items() if build is _bert])
@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("model", {"type": "BPE", "vocab": {"a": 0}, "merges": []}),
        ("model", {"type": "Unigram", "vocab": [["a", 0.0]]}),
        ("normalizer", {"type": "NFKC"}),
        ("pre_tokenizer", {"type": "ByteLevel"}),
    ],
)
def test_other_parts_are_refused_by_name(
    whole: Path, named: str, part: str, value: dict[str, Any]
) -> None:
    kept = json.loads((whole / "tokenizer.json").read_text())
    write(whole, tokenizer={**kept, part: value}, tokenizer_config={"tokenizer_class": named})
    assert f"{part} {value['type']!r} is not implemented" in refusal(whole)


def test_another_frame_is_refused(whole: Path) -> None:
    """XLNet sets [CLS] at the end."""
    kept = json.loads((whole / "tokenizer.json").read_text())
    pieces = [("Sequence", "A"), ("SpecialToken", "[SEP]"), ("SpecialToken", "[CLS]")]
    pair = [{kind: {"id": name, "type_id": 0}} for kind, name in pieces]
    frame = {"type": "TemplateProcessing", "single": pair, "pair": pair, "special_tokens": {}}
    generic = {"tokenizer_class": "TokenizersBackend"}
    write(whole, tokenizer={**kept, "post_processor": frame}, tokenizer_config=generic)
    assert "post_processor" in refusal(whole)


# ----------------------------------------------------------------------------- contradictions


def test_both_vocabularies_agree(whole: Path) -> None:
    (whole / "vocab.txt").write_text("\n".join([*VOCAB, "[E1]"]))
    assert our_ids(whole) == library_ids(whole)
    (whole / "vocab.txt").unlink()
    assert our_ids(whole) == library_ids(whole)


@pytest.mark.parametrize(
    ("change", "number", "words"),
    [
        (lambda v: v.__setitem__(7, "novel"), 7, "'novel' in vocab.txt and 'film'"),
        (lambda v: v.append("novel"), len(VOCAB), "'novel' in vocab.txt and '[E1]'"),
        (lambda v: v.pop(), len(VOCAB) - 1, "None in vocab.txt"),
        (lambda v: v.insert(6, "novel"), 6, "'novel' in vocab.txt and 'the'"),
        (lambda v: v.extend(["[E1]", "novel"]), len(VOCAB) + 1, "and None in tokenizer.json"),
    ],
)
def test_the_first_id_that_differs_is_named(whole: Path, change, number: int, words: str) -> None:
    vocab = [*VOCAB]
    change(vocab)
    message = refusal(write(whole, vocab=vocab))
    assert f"id {number} is" in message and words in message


def test_a_tokenizer_json_without_a_model_hides_behind_no_vocabulary(whole: Path) -> None:
    assert "tokenizer.json: has no model" in refusal(write(whole, tokenizer={}))


def test_an_added_token_keeps_its_id_or_is_refused(tmp_path: Path) -> None:
    gap = {"[E1]": len(VOCAB) + 4}
    message = refusal(write(tmp_path / "gap", vocab=VOCAB, added_tokens=gap))
    assert "'[E1]' has id" in message and str(len(VOCAB) + 4) in message
    moved = {"tokenizer_config": {"added_tokens_decoder": {"3": {"content": "film"}}}}
    assert "'film' has id 3" in refusal(write(tmp_path / "moved", vocab=VOCAB, **moved))


def test_a_setting_that_two_files_give_is_said(
    whole: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "minbert"):
        our_ids(whole)
        assert not caplog.text
        write(whole, tokenizer_config={"do_lower_case": False})
        assert our_ids(whole) == library_ids(whole)
    assert "do_lower_case is False in tokenizer_config.json" in caplog.text


# ------------------------------------------------------------------------------- sizes and ends


@pytest.mark.parametrize("missing", [0, 1, 500])
@pytest.mark.parametrize("block", [8, 64, 1024])
def test_a_padded_vocabulary_is_no_cause_for_alarm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, block: int, missing: int
) -> None:
    vocab = [*VOCAB, *(f"w{number}" for number in range(5 * 1024 - len(VOCAB) - missing % block))]
    WordPieceTokenizer.from_folder(write(tmp_path / "a", vocab=vocab), 8, 5 * 1024)
    assert not caplog.text


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_a_cut_one_is(tmp_path: Path, caplog: pytest.LogCaptureFixture, share: float) -> None:
    vocab = [*VOCAB, *(f"w{number}" for number in range(30522 - len(VOCAB)))]
    folder = write(tmp_path / "a", vocab=vocab[: int(share * len(vocab))])
    WordPieceTokenizer.from_folder(folder, 8, 30522)
    assert "vocab_size is 30522: is the file whole?" in caplog.text


@pytest.mark.parametrize("blank", ["\n", "\r\n\r\n", "\n\n\n"])
def test_blank_last_lines_are_no_tokens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, blank: str
) -> None:
    caplog.set_level(logging.INFO, "minbert")
    folder = write(tmp_path / "a", vocab=VOCAB)
    with (folder / "vocab.txt").open("a", newline="") as stream:
        stream.write(blank)
    assert our_ids(folder, len(VOCAB)) == library_ids(folder)
    assert WordPieceTokenizer.from_folder(folder, 8).size == len(VOCAB)
    assert "vocab.txt: blank lines" in caplog.text


def test_a_token_without_an_embedding_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", vocab=VOCAB, added_tokens={"[E1]": len(VOCAB)})
    WordPieceTokenizer.from_folder(folder, 8, len(VOCAB) + 1)
    assert "'[E1]' has no embedding" in refusal(folder, len(VOCAB))
    assert f"{VOCAB[-3]!r} has no embedding" in refusal(folder, len(VOCAB) - 3)


# --------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"a": ' + b"9" * 5000 + b"}", b"[" * 10**5, b"{}"[:1]],
)
def test_damaged_json(whole: Path, name: str, content: bytes) -> None:
    (whole / f"{name}.json").write_bytes(content)
    assert f"{name}.json" in refusal(whole)


@pytest.mark.parametrize("name", [*(f"{name}.json" for name in NAMES), "vocab.txt"])
@pytest.mark.parametrize("kind", ["sparse", "pipe", "loop", "folder", "zeros"])
def test_what_is_no_file_of_a_tokenizer(whole: Path, name: str, kind: str) -> None:
    path = whole / name
    (whole / "tokenizer.json").unlink()
    path.unlink(missing_ok=True)
    if kind == "sparse":
        path.touch()
        os.truncate(path, 40 * 2**30)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.name if kind == "loop" else "/dev/zero")
    assert f"{name}: cannot be read" in refusal(whole)


JUNK = [None, True, 3, -1, 10**30, 1.5, "x", "", "\ud800", [], [1], {}, {"content": 3}, {"a": {}}]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value within others, the first few tokens of long objects only."""
    if not isinstance(value, dict | list):
        return [path]
    items = list(value.items() if isinstance(value, dict) else enumerate(value))[:8]
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


def with_junk(value: Any, place: tuple[Any, ...], junk: Any) -> Any:
    copy = json.loads(json.dumps(value))
    if not place:
        return junk
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = junk
    return copy


@pytest.mark.parametrize("named", ["BertTokenizer", "TokenizersBackend"])
@pytest.mark.parametrize("name", NAMES)
def test_junk_at_any_place_is_read_or_refused(whole: Path, name: str, named: str) -> None:
    """One value of one file replaced by one of another kind: no other error than ours."""
    decoder = {str(len(VOCAB)): {"content": "[E1]", "special": False}}
    files = {
        "tokenizer": json.loads((whole / "tokenizer.json").read_text()),
        "tokenizer_config": {
            "tokenizer_class": named,
            "do_lower_case": True,
            "mask_token": {"content": "[MASK]"},
            "extra_special_tokens": ["[E1]"],
            "added_tokens_decoder": decoder,
        },
        "added_tokens": {"[E1]": len(VOCAB)},
        "special_tokens_map": {"cls_token": "[CLS]", "additional_special_tokens": ["[E1]"]},
    }
    if name in ("added_tokens", "special_tokens_map"):
        del files["tokenizer"], files["tokenizer_config"]
        (whole / "tokenizer.json").unlink()
    write(whole, **files)
    outcomes = set()
    for place in places(files[name]):
        for junk in JUNK:
            (whole / f"{name}.json").unlink()  # some file systems flush what is written over
            (whole / f"{name}.json").write_text(json.dumps(with_junk(files[name], place, junk)))
            try:
                WordPieceTokenizer.from_folder(whole, 16).encode([("the film [E1]", "x")])
                outcomes.add("read")
            except InputError as error:
                assert str(whole) in str(error) and "\n" not in str(error)
                outcomes.add("refused")
    assert outcomes == {"read", "refused"}

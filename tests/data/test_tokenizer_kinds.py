"""RoBERTa's and XLM-R's tokenizers: the ids are the reference library's."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, normalizers

from minbert.data.subwords import ROBERTA_FRAME
from minbert.data.tokenizer import WordPieceTokenizer
from tests.data.other_tokenizers import SPECIAL, byte_level_parts, roberta, xlm_roberta
from tests.data.tokenizer_folders import refusal, write

TEXTS: list[tuple[str, ...]] = [
    ("A Film is good!", "in  covid times, naïve café"),
    (" the  film\tis\n\nnot <mask> bad ", "<s> b </s>"),
    ("映画は good 😀 film e\u0301",),
    ("", "the film"),
    ("",),
    ("don't we'll it's 1234 ... --- <ent> New York [E1]",),
    ("the film " * 60, "is good " * 10),
]


def agrees(folder: Path, texts: list[tuple[str, ...]] = TEXTS, length: int = 40) -> None:
    """Ids, and which inputs were cut, are the library's."""
    from transformers import AutoTokenizer

    reference = AutoTokenizer.from_pretrained(folder)
    ours = WordPieceTokenizer.from_folder(folder, length)
    for text in texts:
        theirs = reference(*text, truncation="longest_first", max_length=length)["input_ids"]
        encoded = ours.encode([text])
        assert encoded.ids.tolist() == theirs, text
        assert not encoded.type_ids.any()
    for role, key in (("[PAD]", "pad"), ("[UNK]", "unk"), ("[CLS]", "cls"), ("[SEP]", "sep")):
        assert ours.special[role] == getattr(reference, f"{key}_token_id"), key
    assert ours.special["[MASK]"] == reference.mask_token_id


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "prefix": {"add_prefix_space": True},
    "no prefix": {"add_prefix_space": False},
    "added": {"add": ["[E1]", AddedToken("New York", lstrip=True)]},
    "more special": {"extra_special_tokens": ["<ent>"]},
    "mask as published": {"mask_token": AddedToken("<mask>", lstrip=True, special=True)},
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_roberta_as_the_library_saves_it(tmp_path: Path, kind: str) -> None:
    agrees(roberta(tmp_path / "saved", saved=True, **SETTINGS[kind]))


@pytest.mark.parametrize(
    "settings", [{}, {"add_prefix_space": True}, {"tokenizer_class": "RobertaTokenizerFast"}]
)
def test_robertas_two_files(tmp_path: Path, settings: dict[str, Any]) -> None:
    agrees(roberta(tmp_path / "files", saved=False, **settings))


@pytest.mark.parametrize("kind", SETTINGS)
def test_xlm_r_as_the_library_saves_it(tmp_path: Path, kind: str) -> None:
    agrees(xlm_roberta(tmp_path / "saved", **SETTINGS[kind]))


@pytest.mark.parametrize("named", ["TokenizersBackend", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_the_files_choose_the_tokenizer(tmp_path: Path, named: str, model_type: str) -> None:
    """BERT's encoder may have XLM-R's pieces, and a general class takes the file as it is."""
    folder = xlm_roberta(tmp_path / "saved")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    for chosen in (folder, roberta(tmp_path / "bytes", saved=True)):
        write(
            chosen,
            config={"model_type": model_type},
            tokenizer_config={**settings, "tokenizer_class": named},
        )
        agrees(chosen)


def test_a_folder_that_names_no_class_is_read_by_its_file(tmp_path: Path) -> None:
    folder = xlm_roberta(tmp_path / "saved")
    named = [WordPieceTokenizer.from_folder(folder, 40).encode(TEXTS).ids.tolist()]
    (folder / "tokenizer_config.json").unlink()
    write(folder, config={"model_type": "bert"})
    again = WordPieceTokenizer.from_folder(folder, 40)
    assert [again.encode(TEXTS).ids.tolist()] == named and again.frame == ROBERTA_FRAME


def test_random_texts(tmp_path: Path) -> None:
    """Letters of many scripts, blanks of all kinds, special tokens in the middle."""
    rng = random.Random(5)
    letters = "abe 'é\t\n\u00a0\u200bßÜ語😀<>/s[]m.,!2" + "".join(SPECIAL)
    drawn = ["".join(rng.choices(letters, k=rng.randint(0, 30))) for _ in range(200)]
    pairs = [(text, rng.choice(drawn) or "x") if rng.random() < 0.5 else (text,) for text in drawn]
    agrees(roberta(tmp_path / "bytes", saved=False), pairs)
    agrees(xlm_roberta(tmp_path / "pieces"), pairs)


def test_a_pair_stands_in_robertas_frame(tmp_path: Path) -> None:
    ours = WordPieceTokenizer.from_folder(roberta(tmp_path / "a", saved=False), 40)
    cls, sep = ours.special["[CLS]"], ours.special["[SEP]"]
    (ids,) = [ours.encode([("a", "b")]).ids.tolist()]
    assert ids[0] == cls and ids[2:4] == [sep, sep] and ids[5:] == [sep] and len(ids) == 6


def test_a_token_lies_where_its_letters_are(tmp_path: Path) -> None:
    """The blank before a word is in its piece, but not in its place."""
    ours = WordPieceTokenizer.from_folder(roberta(tmp_path / "a", saved=False), 40)
    text = "the film is good"
    (found,) = ours.encodings([text])
    pieces = [text[begin:end] for begin, end in found.offsets]
    assert "".join(pieces) == text.replace(" ", "") and not any(" " in piece for piece in pieces)


def test_tokenizers_that_differ_have_different_fingerprints(tmp_path: Path) -> None:
    kinds = [
        roberta(tmp_path / "a", saved=False),
        roberta(tmp_path / "b", saved=False, add_prefix_space=True),
        xlm_roberta(tmp_path / "c"),
        xlm_roberta(tmp_path / "d", add=["[E1]"]),
    ]
    prints = {WordPieceTokenizer.from_folder(folder, 8).fingerprint() for folder in kinds}
    assert len(prints) == len(kinds)


# ----------------------------------------------------------------------------- refusals


def test_merges_that_are_none(tmp_path: Path) -> None:
    folder = roberta(tmp_path / "a", saved=False)
    with (folder / "merges.txt").open("a") as file:
        file.write("alone\n")
    assert "'alone'" in refusal(folder) and "merges.txt" in refusal(folder)
    (folder / "merges.txt").unlink()
    assert "merges.txt" in refusal(folder)


@pytest.mark.parametrize("vocab", ["[]", '{"a": "b"}', '{"a": -1}', "[" * 99999, '{"a": 1e400}'])
def test_a_vocab_json_that_is_none(tmp_path: Path, vocab: str) -> None:
    folder = roberta(tmp_path / "a", saved=False)
    (folder / "vocab.json").write_text(vocab)
    assert "vocab.json" in refusal(folder)


def test_two_lists_that_differ(tmp_path: Path) -> None:
    folder = roberta(tmp_path / "a", saved=True)
    vocab, _ = byte_level_parts()
    (folder / "vocab.json").write_text(json.dumps(vocab))
    agrees(folder)
    swapped = {**vocab, "a": vocab["b"], "b": vocab["a"]}
    (folder / "vocab.json").write_text(json.dumps(swapped))
    assert f"id {min(vocab['a'], vocab['b'])} is" in refusal(folder)


def test_xlm_r_without_its_pieces(tmp_path: Path) -> None:
    named = {"tokenizer_class": "XLMRobertaTokenizer"}
    folder = write(tmp_path / "a", vocab=SPECIAL, tokenizer_config=named)
    assert "lacks tokenizer.json" in refusal(folder)


def test_a_normaliser_that_the_class_would_drop(tmp_path: Path) -> None:
    """The library's class builds its own and forgets the file's, so the ids would differ."""
    folder = xlm_roberta(tmp_path / "a")
    path = folder / "tokenizer.json"
    written = Tokenizer.from_file(str(path))
    written.normalizer = normalizers.NFKC()
    written.save(str(path))
    assert "normalizer 'NFKC' is not implemented" in refusal(folder)


@pytest.mark.parametrize("charsmap", ["", "AAAA", "/////w==", 5, "%%%"])
def test_a_table_of_normalisations_that_is_damaged(tmp_path: Path, charsmap: Any) -> None:
    folder = xlm_roberta(tmp_path / "a")
    kept = json.loads((folder / "tokenizer.json").read_text())
    broken = {"type": "Precompiled", "precompiled_charsmap": charsmap}
    write(folder, tokenizer={**kept, "normalizer": broken}, config={"model_type": "xlm-roberta"})
    if charsmap:
        refusal(folder)


def test_a_special_token_that_is_absent(tmp_path: Path) -> None:
    folder = roberta(tmp_path / "a", saved=False)
    vocab = {t: i for t, i in byte_level_parts()[0].items() if t != "<mask>"}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    assert "lacks <mask>" in refusal(folder)


def test_a_part_at_which_the_library_panics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The panic is no Exception, and it still ends in one line."""
    folder = xlm_roberta(tmp_path / "a")
    kept = json.loads((folder / "tokenizer.json").read_text())
    broken = {"type": "Precompiled", "precompiled_charsmap": 5}
    general = {"tokenizer_class": "TokenizersBackend"}
    write(folder, tokenizer={**kept, "normalizer": broken}, tokenizer_config=general)
    monkeypatch.setattr("minbert.data.tokenizer_folder._check_charsmaps", lambda files: None)
    assert "makes no tokenizer" in refusal(folder)

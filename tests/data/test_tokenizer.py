"""Token ids against the published tokenizer: the course's texts, hostile texts, pairs, cuts."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minbert.data.subwords import SPECIAL_TOKENS
from minbert.data.tokenizer import EncodedTexts, WordPieceTokenizer
from minbert.support.errors import InputError
from tests.helpers import VOCAB, make_tokenizer

Texts = Sequence[tuple[str, ...]]

HOSTILE = [
    "",
    " ",
    "\t\n\r",
    "a\x00b \x01\x02 \x7f\ufffd",
    "zero\u200bwidth\u200djoin\ufeff nb\u00a0space ideographic\u3000space",
    "e\u0301 é É ÉCOLE naïve Å ﬁ ß İstanbul ﷺ",
    "\u0301\u0302\u0303",
    "🙂 👩‍👩‍👧‍👦 🇫🇷 a🙂b",
    "中文字符 mixed中with英文 日本語カタカナ 한국어 \U00020000",
    "عربى עִבְרִית हिन्दी ไทย",
    "x" * 99 + " " + "y" * 100 + " " + "z" * 101 + " " + "w" * 5000,
    "a" * 3000 + "\u0301" * 200,
    "don't stop-me.now ,. ?! ...... $3,000.50 “quoted” ‘it’s’ — – - __x__ a/b\\c",
    "[MASK] [CLS] [SEP] [PAD] [UNK] [mask] [MASK]ed un[MASK] [ MASK ]",
    "##ing ## # unaffable internationalization",
    "\ud7ff\ue000\uf8ff\U0010fffd \u2028line\u2029para",
    "<s> </s> <b>&amp;</b> \\n \\x00",
    "1" * 50 + " ² ½ Ⅷ ①",
]


@pytest.fixture(scope="module")
def ours(minilm: Path) -> WordPieceTokenizer:
    return WordPieceTokenizer.from_folder(minilm, max_length=512)


@pytest.fixture(scope="module")
def published(minilm: Path) -> Any:
    """The reference, from the same vocabulary."""
    from transformers import BertTokenizerFast

    return BertTokenizerFast(vocab=str(minilm / "vocab.txt"))


def texts_of(folder: Path, pattern: str) -> list[tuple[str, ...]]:
    """Every distinct single text or pair of the course's files, as it stands there."""
    found: dict[tuple[str, ...], None] = {}
    for path in sorted(folder.glob(pattern)):
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream, delimiter="\t"):
                names = ("sentence", "sentence1", "sentence2")
                found[tuple(row[name] or "" for name in names if name in row)] = None
    return list(found)


def split(encoded: EncodedTexts, values: Any) -> list[list[int]]:
    return [part.tolist() for part in np.split(values, encoded.starts[1:-1])]


def assert_as_published(
    ours: WordPieceTokenizer, published: Any, texts: Texts, max_length: int = 512
) -> None:
    """Same ids, same token types, same number of texts cut."""
    encoded = ours.encode(texts)
    assert len(encoded.starts) == len(texts) + 1
    ids, types = split(encoded, encoded.ids), split(encoded, encoded.type_ids)
    published._tokenizer.no_truncation()
    full = published._tokenizer.encode_batch([t[0] if len(t) == 1 else t for t in texts])
    cut = 0
    for text, found, found_types, whole in zip(texts, ids, types, full, strict=True):
        expected, expected_types = whole.ids, whole.type_ids
        if len(expected) > max_length:
            cut += 1
            short = published(
                *text, truncation="longest_first", max_length=max_length, return_token_type_ids=True
            )
            expected, expected_types = short["input_ids"], short["token_type_ids"]
            published._tokenizer.no_truncation()
        assert found == expected, text
        assert found_types == expected_types, text
    assert encoded.truncated == cut
    assert encoded.lengths.tolist() == [len(found) for found in ids]


@pytest.mark.parametrize("pattern", ["ids-sst-*.csv", "sts-dev.csv", "ids-cfimdb-dev.csv"])
def test_course_texts(
    ours: WordPieceTokenizer, published: Any, course_data: Path, pattern: str
) -> None:
    texts = texts_of(course_data, pattern)
    assert len(texts) > 200
    assert_as_published(ours, published, texts)


@pytest.mark.slow
def test_every_course_text(ours: WordPieceTokenizer, published: Any, course_data: Path) -> None:
    """Slow: 100,000 texts and pairs."""
    texts = texts_of(course_data, "*.csv")
    assert len(texts) > 100_000
    for first in range(0, len(texts), 10_000):
        assert_as_published(ours, published, texts[first : first + 10_000])


def test_hostile_texts(ours: WordPieceTokenizer, published: Any) -> None:
    assert_as_published(ours, published, [(text,) for text in HOSTILE])


def test_hostile_pairs(ours: WordPieceTokenizer, published: Any) -> None:
    pairs = [(a, b) for a, b in zip(HOSTILE, reversed(HOSTILE), strict=True)]
    assert_as_published(ours, published, [*pairs, ("", "x"), ("x", ""), ("", "")])


@pytest.mark.parametrize("max_length", [5, 6, 7, 16, 31])
def test_cuts_take_from_the_longer_text_first(
    minilm: Path, published: Any, course_data: Path, max_length: int
) -> None:
    ours = WordPieceTokenizer.from_folder(minilm, max_length)
    texts = [*texts_of(course_data, "sts-dev.csv")[:100], *texts_of(course_data, "*sst-dev*")[:50]]
    texts += [("a " * 50, "b"), ("a", "b " * 50), ("a " * 50, "b " * 50), ("", "b " * 50)]
    assert_as_published(ours, published, texts, max_length)
    assert ours.encode(texts).lengths.max() == max_length


def test_only_what_was_cut_is_counted(minilm: Path) -> None:
    ours = WordPieceTokenizer.from_folder(minilm, max_length=6)
    assert ours.encode([("one two three four",)]).truncated == 0
    assert ours.encode([("one two three four five",)]).truncated == 1
    assert ours.encode([("word " * 50,), ("a " * 50, "b " * 50)]).truncated == 2
    assert ours.encode([("one two", "three")]).truncated == 0
    assert ours.encode([("one two", "three four"), ("a",), ("a b c d e f g h",)]).truncated == 2


def test_layout_of_one_text_and_of_two(ours: WordPieceTokenizer) -> None:
    cls, sep = ours.vocab["[CLS]"], ours.vocab["[SEP]"]
    a, b = ours.vocab["a"], ours.vocab["b"]
    encoded = ours.encode([("a",), ("a", "b b"), ("",)])
    assert split(encoded, encoded.ids) == [[cls, a, sep], [cls, a, sep, b, b, sep], [cls, sep]]
    assert split(encoded, encoded.type_ids) == [[0, 0, 0], [0, 0, 0, 1, 1, 1], [0, 0]]
    assert encoded.lengths.tolist() == [3, 6, 2]
    assert (encoded.ids.dtype, encoded.type_ids.dtype) == (np.int32, np.int8)


def test_no_texts(ours: WordPieceTokenizer) -> None:
    encoded = ours.encode([])
    assert encoded.ids.size == 0 and encoded.lengths.size == 0 and encoded.truncated == 0


def test_chunks_join_without_a_seam(
    ours: WordPieceTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [(f"text number {i} {'word ' * (i % 7)}",) for i in range(50)]
    whole = ours.encode(texts)
    for name, most in (("_CHUNK", 7), ("_MOST_LETTERS", 90)):
        monkeypatch.setattr(f"minbert.data.tokenizer.{name}", most)
        parts = ours.encode(texts)
        assert np.array_equal(whole.ids, parts.ids) and np.array_equal(whole.starts, parts.starts)


def test_a_text_is_encoded_alike_in_any_company(ours: WordPieceTokenizer) -> None:
    texts = [(text,) for text in HOSTILE]
    together = split(encoded := ours.encode(texts), encoded.ids)
    assert together == [ours.encode([text]).ids.tolist() for text in texts]


def long_text(rng: random.Random, words: int) -> str:
    plain = [word for word in VOCAB if word.isalpha()]
    return "".join(
        rng.choice(plain) + rng.choice([" ", "  ", "\t", "\u3000 "]) for _ in range(words)
    )


def test_a_long_text_is_cut_before_it_is_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ids and the number of cut texts are what they are without the early cut."""
    rng = random.Random(0)
    texts = [(long_text(rng, rng.randint(1, 600)),) for _ in range(50)]
    texts += [(long_text(rng, 600), long_text(rng, rng.randint(1, 30))) for _ in range(20)]
    whole, early = make_tokenizer(16), make_tokenizer(16)
    expected = whole.encode(texts)
    monkeypatch.setattr("minbert.data.tokenizer._LETTERS", 12)
    found = early.encode(texts)
    assert found.ids.tolist() == expected.ids.tolist() and found.truncated == expected.truncated
    seen = [early._shortened(text)[0] for text in texts]
    assert max(len(text) for row in seen for text in row) == 16 * 12


def test_blanks_hide_no_word_from_the_limit() -> None:
    tokenizer = make_tokenizer(16)
    blanks = "good" + " " * 50_000 + "movie" + "\n" * 50_000
    encoded = tokenizer.encode([(blanks,), ("good movie",)])
    assert len(set(map(tuple, split(encoded, encoded.ids)))) == 1 and encoded.truncated == 0
    assert tokenizer.encode([("x" * 50_000,)]).truncated == 1


# ------------------------------------------------------------------------------- vocabularies

WORDS = [*SPECIAL_TOKENS, "hello", "world", "##s", "World", "É"]


def folder_with(folder: Path, content: bytes, config: str | None = None) -> Path:
    (folder / "vocab.txt").write_bytes(content)
    if config is not None:
        (folder / "tokenizer_config.json").write_text(config)
    return folder


def ids(folder: Path, text: str) -> list[int]:
    return WordPieceTokenizer.from_folder(folder, 16).encode([(text,)]).ids.tolist()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_of_the_vocabulary(tmp_path: Path, end: str, last: bool) -> None:
    folder_with(tmp_path, (end.join(WORDS) + end * last).encode())
    tokenizer = WordPieceTokenizer.from_folder(tmp_path, 16)
    assert tokenizer.vocab == {word: i for i, word in enumerate(WORDS)}
    assert tokenizer.pad_id == 0
    assert ids(tmp_path, "hello worlds") == [2, 5, 6, 7, 3]


@pytest.mark.parametrize("odd", ["\u2028", "\u0085", "\x0b", "\x1c"])
def test_only_a_line_feed_ends_a_token(tmp_path: Path, odd: str) -> None:
    """Published vocabularies hold characters that Python's splitlines takes for line ends."""
    folder_with(tmp_path, "\n".join([*WORDS[:5], odd, "hello"]).encode())
    assert WordPieceTokenizer.from_folder(tmp_path, 16).vocab["hello"] == 6


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, [5, 6]),
        ("{}", [5, 6]),
        ('{"do_lower_case": true}', [5, 6]),
        ('{"do_lower_case": false}', [1, 8]),
    ],
)
def test_lower_case_is_the_folders_choice(
    tmp_path: Path, config: str | None, expected: list[int]
) -> None:
    folder_with(tmp_path, "\n".join(WORDS).encode(), config)
    assert ids(tmp_path, "Hello World") == [2, *expected, 3]


@pytest.mark.parametrize(
    "settings",
    [
        {"strip_accents": False},
        {"strip_accents": True, "do_lower_case": False},
        {"tokenize_chinese_chars": False},
        {"do_lower_case": False},
    ],
)
def test_published_settings_mean_what_they_mean_to_the_reference(
    minilm: Path, tmp_path: Path, settings: dict[str, bool]
) -> None:
    from transformers import BertTokenizerFast

    vocab = minilm / "vocab.txt"
    folder_with(tmp_path, vocab.read_bytes(), json.dumps(settings))
    reference = BertTokenizerFast(vocab=str(vocab), **settings)
    text = "Café naïve 你好世界 Hello"
    encoded = WordPieceTokenizer.from_folder(tmp_path, 64).encode([(text,)])
    assert encoded.ids.tolist() == reference(text)["input_ids"]


def test_a_token_that_stands_twice_is_named(tmp_path: Path) -> None:
    folder_with(tmp_path, "\n".join([*WORDS, "hello"]).encode())
    with pytest.raises(InputError, match="'hello' stands there twice"):
        WordPieceTokenizer.from_folder(tmp_path, 16)


def test_a_cased_vocabulary_keeps_accents(tmp_path: Path) -> None:
    folder_with(tmp_path, "\n".join(WORDS).encode(), json.dumps({"do_lower_case": False}))
    assert ids(tmp_path, "É") == [2, 9, 3]


@pytest.mark.parametrize("config", ["{", "", "[]", "null", "3", '{"do_lower_case": "false"}'])
def test_a_damaged_tokenizer_config_is_named(tmp_path: Path, config: str) -> None:
    folder_with(tmp_path, "\n".join(WORDS).encode(), config)
    with pytest.raises(InputError, match=r"tokenizer_config\.json"):
        WordPieceTokenizer.from_folder(tmp_path, 16)


@pytest.mark.parametrize("token", SPECIAL_TOKENS)
def test_a_vocabulary_without_a_special_token(tmp_path: Path, token: str) -> None:
    words = [word for word in WORDS if word != token]
    folder_with(tmp_path, "\n".join(words).encode())
    with pytest.raises(InputError) as refused:
        WordPieceTokenizer.from_folder(tmp_path, 16)
    assert f"lacks {token}" in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"\x00\x01"])
def test_not_a_vocabulary(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"vocab\.txt"):
        WordPieceTokenizer.from_folder(folder_with(tmp_path, content), 16)


def test_no_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"vocab\.txt"):
        WordPieceTokenizer.from_folder(tmp_path, 16)

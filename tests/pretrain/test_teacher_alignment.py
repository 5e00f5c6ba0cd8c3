"""Words that two tokenizers read, told by their place in the text; hostile texts among them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from minbert.data.subwords import SPECIAL_TOKENS, wordpiece
from minbert.data.tokenizer import WordPieceTokenizer
from minbert.pretrain.alignment import (
    Place,
    Reading,
    ReadRow,
    RowReader,
    like_lengths,
    row_means,
    word_means,
)
from tests.helpers import CPU, VOCAB, make_tokenizer
from tests.pretrain.taught import THEIRS, our_reader, their_reader

HOSTILE = [
    "",
    " \t ",
    "\u200b\x01",
    "a",
    "film",
    "x",
    "!?",
    "the film was very good",
    "films filmly filming the plot",
    "thé filmé café",
    "the fi\u0301lm is ba\u0301d",
    "中文 film 中 a",
    "文中film",
    "😀 film 😀😀 good",
    "unknownword film unknownword",
    "fi\x00lm the\u200dman \ufffd good",
    "[MASK] the [SEP] man [UNK] good",
    "ＴＨＥ İ ß ﬁlm FILM",
    "the man plays guitar " * 12,
    "a" * 300 + " film",
    "\u0301\u0302 film \u0301",
]
ROWS = [(text,) for text in HOSTILE] + list(zip(HOSTILE, reversed(HOSTILE), strict=True))


def shared(ours: ReadRow, theirs: ReadRow) -> list[Place]:
    return [place for place in ours.words if place in theirs.words]


@pytest.mark.parametrize("length", [16, 17, 24, 32])
@pytest.mark.parametrize("chinese", [True, False], ids=["chinese split", "not split"])
def test_aligned_words_are_the_same_stretch_of_text_to_both(length: int, chinese: bool) -> None:
    ours, theirs = our_reader(length), their_reader(length, split_chinese=chinese)
    number = 0
    for texts, *read in zip(ROWS, ours.read(ROWS), theirs.read(ROWS), strict=True):
        for which, begin, end in shared(*read):
            slice_ = texts[which][begin:end]
            assert slice_.strip() == slice_ != ""
            for reader, row, vocab in zip((ours, theirs), read, (VOCAB, THEIRS), strict=True):
                names = {number: token for token, number in vocab.items()}
                first, last = row.words[which, begin, end]
                pieces = [names[i] for i in row.ids[first:last]]
                normalised = reader._tokenizer._tokenizer.normalizer.normalize_str(slice_)
                spelt = pieces[0] + "".join(p.removeprefix("##") for p in pieces[1:])
                assert spelt == normalised.strip()
                assert all(piece.startswith("##") for piece in pieces[1:])
                number += 1
    assert number > 100


@pytest.mark.parametrize("length", [16, 21, 32])
def test_rows_are_framed_and_cut(length: int) -> None:
    for reader, vocab in ((our_reader(length), VOCAB), (their_reader(length), THEIRS)):
        for texts, row in zip(ROWS, reader.read(ROWS), strict=True):
            assert len(row.ids) <= length
            assert row.ids[0] == vocab["[CLS]"]
            assert row.ids[-1] == row.ids[row.b_start - 1] == vocab["[SEP]"]
            assert (row.b_start == len(row.ids)) == (len(texts) == 1)
            for (which, *_), (first, last) in row.words.items():
                low, high = ((1, row.b_start - 1), (row.b_start, len(row.ids) - 1))[which]
                assert low <= first < last <= high


def test_a_word_that_is_cut_off_is_none() -> None:
    """With every length, the words are those of the uncut row that end in time."""
    text = ("guitar filmly the plot slowly greatly old streets " * 3,)
    (whole,) = their_reader(2**20).read([text])
    cut_inside = 0
    for length in range(3, 60):
        (row,) = their_reader(length).read([text])
        kept = {place: span for place, span in whole.words.items() if span[1] <= length - 1}
        assert row.words == kept
        cut_inside += any(a < length - 1 < b for a, b in whole.words.values())
    assert cut_inside > 10


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("\u200b\x01", []),
        ("film", ["film"]),
        ("unknownword film", ["film"]),  # [UNK] to the student
        ("good 😀 film", ["good", "film"]),
        ("[SEP] film [MASK]", ["film"]),
        ("thé film", ["thé", "film"]),
        ("fi\x01lm a", ["fi\x01lm", "a"]),
    ],
)
def test_words_that_are_left_out(text: str, words: list[str]) -> None:
    read = (reader.read([(text,)])[0] for reader in (our_reader(), their_reader()))
    assert [text[begin:end] for _, begin, end in shared(*read)] == words


def test_words_behind_a_difference_are_still_found() -> None:
    """One side splits Chinese characters: its words have other numbers, but the same places."""
    vocab = {t: i for i, t in enumerate([*SPECIAL_TOKENS, "中", "文", "film", "中文", "good"])}
    splitting, whole = (
        RowReader(WordPieceTokenizer(wordpiece(vocab, split_chinese=split), 2**30), 32)
        for split in (True, False)
    )
    text = "中文 film 中 good"
    read = (reader.read([(text,)])[0] for reader in (splitting, whole))
    assert [text[begin:end] for _, begin, end in shared(*read)] == ["film", "中", "good"]


def test_of_a_huge_text_the_start_alone_is_taken_apart(monkeypatch) -> None:
    monkeypatch.setattr("minbert.data.tokenizer._LETTERS", 12)
    tokenizer = make_tokenizer(2**30)
    (start,) = tokenizer.encodings(["the film " * 100_000], 8)
    assert start.offsets[-1][1] <= 8 * 12
    long, short = RowReader(tokenizer, 8).read([("the film " * 100_000,), ("the film " * 10,)])
    assert long == short


def test_a_batch_reads_like_its_rows() -> None:
    reader = our_reader()
    assert reader.read(ROWS) == [reader.read([row])[0] for row in ROWS]


def test_a_readings_words_stand_in_the_teachers_texts() -> None:
    (row,) = our_reader().read([("the film", "a man")])
    words = list(Reading(row, (7, 3)).words)
    assert words == [
        ((7, 0, 3), (1, 2)),
        ((7, 4, 8), (2, 3)),
        ((3, 0, 1), (4, 5)),
        ((3, 2, 5), (5, 6)),
    ]


@pytest.mark.parametrize("piece", [1, 5, 1000])
def test_rows_of_like_length_go_together(piece: int) -> None:
    rows = our_reader().read(ROWS)
    parts = like_lengths(rows, piece)
    assert [len(part) for part in parts[:-1]] == [piece] * (len(parts) - 1)
    numbers = np.concatenate(parts)
    assert sorted(numbers) == list(range(len(rows)))
    lengths = [len(rows[number].ids) for number in numbers]
    assert lengths == sorted(lengths)


def test_padding_and_types() -> None:
    reader = our_reader()
    rows = reader.read(ROWS)
    tokens = reader.collate(rows, CPU)
    for i, row in enumerate(rows):
        count = len(row.ids)
        assert tokens.input_ids[i, :count].tolist() == list(row.ids)
        assert set(tokens.input_ids[i, count:].tolist()) <= {VOCAB["[PAD]"]}
        assert tokens.attention_mask[i].sum() == tokens.attention_mask[i, :count].sum() == count
        types = [int(place >= row.b_start) for place in range(count)]
        assert tokens.token_type_ids[i, :count].tolist() == types
        assert tokens.lengths[i] == count


def test_means_are_those_of_a_loop() -> None:
    hidden = torch.randn(3, 7, 5, dtype=torch.float64)
    spans = [[(1, 2), (2, 5)], [], [(1, 6)]]
    found = word_means(hidden, spans)
    expected = [hidden[i, a:b].mean(0) for i, row in enumerate(spans) for a, b in row]
    torch.testing.assert_close(found, torch.stack(expected))
    rows = [ReadRow([2] * n, n, {}) for n in (7, 3, 6)]
    means = row_means(hidden, our_reader().collate(rows, CPU))
    each = [hidden[i, :n].mean(0) for i, n in enumerate((7, 3, 6))]
    torch.testing.assert_close(means, torch.stack(each))
    assert word_means(hidden, [[], [], []]).shape == (0, 5)
    assert np.prod(word_means(hidden.bfloat16(), spans).shape) == 15
    assert word_means(hidden.bfloat16(), spans).dtype == torch.float32

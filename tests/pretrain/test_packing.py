"""Rows of packed text: what stands in them, what follows what, and that nothing gives it away."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from minbert.pretrain.packing import Frame, PackedRow, Sentences, full_rows, pair_rows
from tests.helpers import VOCAB
from tests.pretrain.texts import FRAME, random_documents, tokenised

SEEDS = st.integers(0, 2**32 - 1)


def packed(sentences: Sentences, frame: Frame = FRAME, seed: int = 0) -> list[PackedRow]:
    return list(pair_rows(sentences, frame, np.random.default_rng(seed)))


def segments(row: PackedRow) -> tuple[list[int], list[int]]:
    return row.tokens[1 : row.b_start - 1].tolist(), row.tokens[row.b_start : -1].tolist()


def document_tokens(sentences: Sentences) -> list[list[int]]:
    starts, ids = sentences.texts.starts, sentences.texts.ids
    bounds = sentences.documents
    return [ids[starts[a] : starts[b]].tolist() for a, b in pairwise(bounds)]


def holds(tokens: list[int], part: list[int]) -> bool:
    return any(tokens[i : i + len(part)] == part for i in range(len(tokens) - len(part) + 1))


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(2, 12), st.integers(16, 64))
def test_a_row_is_framed_and_fits(seed: int, count: int, length: int) -> None:
    frame = Frame(FRAME.cls_id, FRAME.sep_id, length)
    for row in packed(tokenised(random_documents(count, seed)), frame, seed):
        assert len(row.tokens) <= length
        assert row.tokens[0] == frame.cls_id
        assert np.flatnonzero(row.tokens == frame.sep_id).tolist() == [
            row.b_start - 1,
            len(row.tokens) - 1,
        ]
        a, b = segments(row)
        assert a
        assert b


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(2, 12))
def test_b_follows_a_or_is_of_another_document(seed: int, count: int) -> None:
    sentences = tokenised(random_documents(count, seed))
    documents = document_tokens(sentences)
    for row in packed(sentences, seed=seed):
        a, b = segments(row)
        if row.is_random:
            homes = [i for i, own in enumerate(documents) if holds(own, a)]
            others = [i for i, own in enumerate(documents) if holds(own, b)]
            assert any(i != j for i in homes for j in others)
        elif len(a) < (FRAME.length - 3) * 3 // 4:  # not cut
            assert any(holds(own, a + b) for own in documents)


def test_half_the_pairs_are_random() -> None:
    rows = packed(tokenised(random_documents(3000)))
    share = np.mean([row.is_random for row in rows])
    assert len(rows) > 2000
    assert abs(share - 0.5) < 5 * 0.5 / len(rows) ** 0.5


def test_the_end_of_a_document_gives_nothing_away() -> None:
    """No a stands at its document's end, of whichever kind its pair is."""
    sentences = tokenised([[f"{word} film"] * 5 for word in ("plot", "cast", "dog", "man")] * 50)
    ends = {tuple(own[-2:]) for own in document_tokens(sentences)}
    full = {own: 5 * len(own) for own in ends}
    for row in packed(sentences, Frame(FRAME.cls_id, FRAME.sep_id, 64)):
        a, _ = segments(row)
        assert len(a) < full[tuple(a[-2:])]


def test_random_and_following_segments_are_equally_long() -> None:
    rows = packed(tokenised(random_documents(4000, most_sentences=30)))
    lengths = {kind: [len(r.tokens) for r in rows if r.is_random == kind] for kind in (True, False)}
    firsts = {kind: [r.b_start for r in rows if r.is_random == kind] for kind in (True, False)}
    for own in (lengths, firsts):
        assert abs(np.mean(own[True]) - np.mean(own[False])) < 0.5


def test_rows_are_nearly_full_where_documents_are_long() -> None:
    rows = packed(tokenised(random_documents(200, most_sentences=200)))
    assert np.mean([len(row.tokens) for row in rows]) > 0.95 * FRAME.length


def test_documents_of_one_sentence_make_no_pair() -> None:
    assert packed(tokenised([["plot"], ["cast"], ["dog"]])) == []


def test_sentences_without_a_token_are_passed_over() -> None:
    rows = packed(tokenised([["\u200b", "plot", "\u200b"], ["cast", "\u200b", "\u200b"]] * 20))
    assert all(all(segments(row)) for row in rows)


def test_the_same_seed_packs_the_same_rows() -> None:
    sentences = tokenised(random_documents(40))
    first, again, other = (packed(sentences, seed=seed) for seed in (1, 1, 2))
    assert [r.tokens.tolist() for r in first] == [r.tokens.tolist() for r in again]
    assert [r.tokens.tolist() for r in first] != [r.tokens.tolist() for r in other]


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(1, 12), st.integers(16, 64))
def test_full_rows_hold_all_text_in_order(seed: int, count: int, length: int) -> None:
    frame = Frame(FRAME.cls_id, FRAME.sep_id, length)
    sentences = tokenised(random_documents(count, seed))
    rows = list(full_rows(sentences, frame))
    assert [len(row.tokens) for row in rows[:-1]] == [length] * (len(rows) - 1)
    assert all(row.b_start == len(row.tokens) and not row.is_random for row in rows)
    text = [token for row in rows for token in row.tokens[1:-1].tolist()]
    expected = [[frame.sep_id, *own] for own in document_tokens(sentences)]
    assert text == [token for own in expected for token in own][1:]


def test_an_empty_document_leaves_no_gap_in_full_rows() -> None:
    (row,) = full_rows(tokenised([["plot"], ["\u200b"], ["cast"]]), FRAME)
    ids = [VOCAB[token] for token in ("[CLS]", "plot", "[SEP]", "cast", "[SEP]")]
    assert row.tokens.tolist() == ids

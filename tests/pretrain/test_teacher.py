"""The word embeddings that a student begins with: the teacher's principal components."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from minbert.data.tokenizer import WordPieceTokenizer
from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.pretrain.alignment import RowReader
from minbert.pretrain.teacher import NO_LIMIT, Teacher, principal_components
from minbert.pretrain.word_vectors import SIZE
from tests.data.other_tokenizers import roberta, xlm_roberta
from tests.helpers import VOCAB
from tests.pretrain.taught import THEIRS, their_encoder, tiny_teacher


def wanted() -> np.ndarray:
    """The teacher's embedding of each of the student's tokens, a token at a time."""
    table = their_encoder().word_embeddings.weight.double().numpy()
    rows = []
    for token in VOCAB:
        if token in THEIRS:
            rows.append(table[THEIRS[token]])
            continue
        pieces, rest = [], token.removeprefix("##")
        while rest:
            names = [("##" * bool(pieces)) + rest[:end] for end in range(len(rest), 0, -1)]
            pieces.append(next(name for name in names if name in THEIRS))
            rest = rest[len(pieces[-1].removeprefix("##")) :]
        rows.append(np.mean([table[THEIRS[piece]] for piece in pieces], axis=0))
    return np.array(rows)


def test_they_keep_as_much_of_the_teachers_distances_as_so_many_numbers_can() -> None:
    found = principal_components(tiny_teacher(), VOCAB, len(VOCAB) + 3, 6).astype(np.float64)
    centred = wanted() - wanted().mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    best = (left * values)[:, :6]
    one, other = (m @ m.T / np.linalg.norm(m @ m.T) for m in (found[: len(VOCAB)], best))
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.sqrt(np.mean(found[: len(VOCAB)] ** 2)) == pytest.approx(SIZE, rel=1e-5)
    assert not found[len(VOCAB) :].any()  # rows of the table without a token


def test_a_wider_student_gets_zeros_and_the_same_distances() -> None:
    found = principal_components(tiny_teacher(), VOCAB, len(VOCAB), 40)
    assert found.shape == (len(VOCAB), 40)
    assert not found[:, 24:].any()
    centred = wanted() - wanted().mean(axis=0)
    gram, expected = found.astype(np.float64) @ found.T, centred @ centred.T
    np.testing.assert_allclose(
        gram / np.linalg.norm(gram), expected / np.linalg.norm(expected), atol=1e-6
    )


def test_a_token_that_the_teacher_drops_has_zeros() -> None:
    vocab = {**VOCAB, "\u200b": len(VOCAB)}
    found = principal_components(tiny_teacher(), vocab, len(vocab), 6)
    assert not found[-1].any()
    assert np.abs(found[:-1]).max(axis=1).all()


@pytest.mark.parametrize("kind", ["Ġ", "▁"])
def test_a_vocabulary_that_marks_beginnings_is_asked_for_words_by_their_beginnings(
    tmp_path: Path, kind: str
) -> None:
    folder = roberta(tmp_path, saved=False) if kind == "Ġ" else xlm_roberta(tmp_path)
    tokenizer = WordPieceTokenizer.from_folder(folder, NO_LIMIT)
    shape = EncoderConfig(vocab_size=tokenizer.size, hidden_size=32, num_attention_heads=4)
    torch.manual_seed(3)
    encoder = BertModel(shape).requires_grad_(False)
    teacher = Teacher(encoder, tokenizer, RowReader(tokenizer, 32), None)
    theirs, table = tokenizer.vocab, encoder.word_embeddings.weight.numpy()
    both = [t for t in theirs if t.isascii() and t.isalpha() and f"{kind}{t}" in theirs]
    assert len(both) >= 3  # which stand at the beginning of a word, and within one
    vocab = {t: n for n, t in enumerate([*both, *(f"##{t}" for t in both)])}
    wanted = [theirs[f"{kind}{t}"] for t in both] + [theirs[t] for t in both]
    found = principal_components(teacher, vocab, len(vocab), 32).astype(np.float64)
    centred = table[wanted] - table[wanted].mean(axis=0)
    gram, expected = found @ found.T, centred @ centred.T
    np.testing.assert_allclose(
        gram / np.linalg.norm(gram), expected / np.linalg.norm(expected), atol=1e-6
    )

"""The distance from the teacher: its formula in float64, whatever pieces a batch runs in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from minbert.pretrain.alignment import AlignedRow, align
from minbert.pretrain.teaching import (
    TaughtBatch,
    TeachingObjective,
    read_pairs,
    score_taught,
)
from minbert.support.errors import InputError
from tests.helpers import write_course_files
from tests.pretrain.taught import our_reader, their_reader, tiny_student, tiny_teacher
from tests.pretrain.test_teacher_alignment import ROWS

TWO = 2 * [("the film was good", "a man plays guitar")]


def hostile(rows: Sequence[tuple[str, ...]] = (*TWO, *ROWS)) -> list[AlignedRow]:
    return align(rows, our_reader(), their_reader())


def objective(piece: int = 100, weights: tuple[float, float] = (1.0, 1.0), **settings):
    teacher = tiny_teacher(**settings)
    return TeachingObjective(teacher, our_reader(), weights, piece)


def gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }


def reference(rows: list[AlignedRow], weights: tuple[float, float]) -> tuple[dict, dict]:
    """Values and gradients of the formula: a row at a time without padding, a word at a time."""
    student, teacher = tiny_student().double(), tiny_teacher(dtype=torch.float64).encoder

    def vectors(encoder, read) -> Tensor:
        ids = torch.tensor([list(read.ids)])
        types = torch.tensor([[int(i >= read.b_start) for i in range(len(read.ids))]])
        return encoder(ids, torch.ones_like(ids), types)["last_hidden_state"][0]

    def distance(h: Tensor, t: Tensor) -> Tensor:
        mapped = student.to_teacher.weight @ h + student.to_teacher.bias
        return 1 - (mapped @ t) / (mapped.norm() * t.norm())

    words, wholes = [], []
    for row in rows:
        ours, theirs = vectors(student.encoder, row.student), vectors(teacher, row.teacher)
        wholes.append(distance(ours.mean(0), theirs.mean(0)))
        for place in set(row.student.words) & set(row.teacher.words):
            (a, b), (c, d) = row.student.words[place], row.teacher.words[place]
            words.append(distance(sum(ours[a:b]) / (b - a), sum(theirs[c:d]) / (d - c)))
    by_word, by_row = sum(words) / len(words), sum(wholes) / len(wholes)
    loss = weights[0] * by_word + weights[1] * by_row
    loss.backward()
    values = {"word_loss": by_word, "sentence_loss": by_row, "loss": loss}
    return {name: value.item() for name, value in values.items()}, gradients(student)


@pytest.mark.parametrize("piece", [1, 5, 100])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.3, 2.0), (0.0, 1.0), (1.0, 0.0)], ids=str)
def test_it_equals_the_formula(piece: int, weights: tuple[float, float]) -> None:
    rows = hostile()
    expected, expected_gradients = reference(rows, weights)
    model = tiny_student().double()
    taught = objective(piece, weights, dtype=torch.float64)
    found = taught.backward(model, TaughtBatch((), rows), 3)
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, 1e-11)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-8, atol=1e-11)
    assert float(gradients(model)["to_teacher.weight"].norm()) > 0
    heads = ("mlm.", "nsp.", "encoder.pooler.")
    moved = {n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert not any(name.startswith(heads) for name in moved)


def test_rows_without_words_have_a_sentence_loss_alone() -> None:
    rows = hostile([("",), ("\x01",), ("unknownword",)])
    model = tiny_student()
    found = objective().backward(model, TaughtBatch((), rows), 3)
    assert found["word_loss"] == 0
    assert found["loss"] == found["sentence_loss"] > 0
    assert all(bool(gradient.isfinite().all()) for gradient in gradients(model).values())


def test_a_student_that_is_its_teacher_has_no_loss() -> None:
    teacher = tiny_teacher()
    model = tiny_student()
    model.encoder, model.to_teacher = teacher.encoder, torch.nn.Identity()
    rows = align(ROWS, teacher.reader, teacher.reader)
    taught = TeachingObjective(teacher, teacher.reader, (1.0, 1.0), 7)
    with torch.no_grad():
        for losses in taught.losses(model, rows):
            assert float(losses["loss"]) == pytest.approx(0.0, abs=1e-5)


def test_the_teacher_is_read_without_dropout_and_its_bits_stay() -> None:
    teacher, model, rows = tiny_teacher(), tiny_student(dropout=0.5), hostile()
    before = {name: t.clone() for name, t in teacher.encoder.state_dict().items()}
    taught = TeachingObjective(teacher, our_reader(), (1.0, 1.0), 4)
    first, again, other = (
        taught.backward(model, TaughtBatch((), rows), seed)["loss"] for seed in (1, 1, 2)
    )
    assert first == again != other  # the student's dropout
    tokens = teacher.reader.collate([row.teacher for row in rows], model.device)
    assert torch.equal(teacher.vectors(tokens), teacher.vectors(tokens))
    assert not teacher.vectors(tokens).requires_grad
    assert all(torch.equal(t, before[n]) for n, t in teacher.encoder.state_dict().items())
    assert all(param.grad is None for param in teacher.encoder.parameters())


def test_in_bf16_the_loss_is_nearly_the_same() -> None:
    rows = hostile()
    exact = objective().backward(tiny_student(), TaughtBatch((), rows), 3)["loss"]
    teacher = dataclasses.replace(tiny_teacher(), autocast=torch.bfloat16)
    lowered = TeachingObjective(teacher, our_reader(), (1.0, 1.0), 100)
    found = lowered.backward(tiny_student(), TaughtBatch((), rows), 3)["loss"]
    assert found != exact
    assert float(found) == pytest.approx(float(exact), rel=0.05)


def test_a_batch_counts_the_students_tokens() -> None:
    rows = hostile()
    batch = TaughtBatch((), rows)
    assert batch.real_tokens == sum(len(row.student.ids) for row in rows)
    assert batch.padded_tokens == len(rows) * max(len(row.student.ids) for row in rows)


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_held_out_scores_do_not_hang_on_the_pieces(tmp_path: Path, piece: int) -> None:
    write_course_files(tmp_path, rows=20, tasks=["sts"])
    pairs = read_pairs(tmp_path / "sts-dev.csv", our_reader())
    model, rows, weights = tiny_student(), hostile(), (0.5, 2.0)
    scored = score_taught(model, objective(piece, weights), rows, pairs, piece)
    values = objective(100, weights).backward(model, TaughtBatch((), rows), 3)
    assert scored.criterion == pytest.approx(-values["loss"].item(), rel=1e-5)
    assert scored.scores["word loss"] == pytest.approx(values["word_loss"].item(), rel=1e-5)
    assert scored.scores["sentence loss"] == pytest.approx(values["sentence_loss"].item(), 1e-5)
    assert scored.scores["pairs' r"] == pytest.approx(correlation(model, tmp_path), abs=1e-5)
    alone = score_taught(model, objective(piece, weights), rows, None, piece)
    assert list(alone.scores) == ["word loss", "sentence loss"]


def correlation(model, folder: Path) -> float:
    """From the file's lines, a text at a time."""
    cosines, labels = [], []
    for line in (folder / "sts-dev.csv").read_text().splitlines()[1:]:
        _, _, *texts, label = line.split("\t")
        ab = []
        for text in texts:
            (read,) = our_reader().read([(text,)])
            ids = torch.tensor([list(read.ids)])
            with torch.no_grad():
                hidden = model.eval().encoder(ids, torch.ones_like(ids))["last_hidden_state"]
            ab.append(hidden[0].mean(0))
        cosines.append(float(ab[0] @ ab[1] / (ab[0].norm() * ab[1].norm())))
        labels.append(float(label))
    return float(np.corrcoef(cosines, labels)[0, 1])


def test_pairs_of_another_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("id\tsentence1\n1\ta\n")
    with pytest.raises(InputError, match="no column"):
        read_pairs(tmp_path / "pairs.csv", our_reader())

"""The distance from the teacher: its formula in float64, whatever pieces a batch runs in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from minbert.pretrain.alignment import ReadRow
from minbert.pretrain.model import fresh
from minbert.pretrain.pairs import Reads, read_rows
from minbert.pretrain.scored_pairs import read_pairs
from minbert.pretrain.teaching import TaughtBatch, TeachingObjective, Weights, score_taught
from minbert.support.errors import InputError
from tests.helpers import TINY, VOCAB, write_course_files
from tests.pretrain.taught import SHAPE, our_reader, their_reader, tiny_student, tiny_teacher
from tests.pretrain.test_teacher_alignment import HOSTILE, ROWS

TWO = 2 * [("the film was good", "a man plays guitar")]


ONE = Weights(1.0, 1.0, 1.0)


def hostile(rows: Sequence[tuple[str, ...]] = (*TWO, *ROWS)) -> Reads:
    return read_rows(rows, our_reader(), their_reader(), 4)


def batch_of(reads: Reads, piece: int = 100) -> TaughtBatch:
    return TaughtBatch((), reads, piece)


def objective(piece: int = 100, weights: Weights = ONE, **settings):
    teacher = tiny_teacher(**settings)
    return TeachingObjective(teacher, our_reader(), weights, piece)


def gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }


def orthonormal(weight: Tensor) -> Tensor:
    """The shorter of columns and rows, made orthonormal one after another (Gram-Schmidt)."""
    found: list[Tensor] = []
    tall = weight if len(weight) >= weight.shape[1] else weight.T
    for column in tall.T:
        rest = column - sum((column @ other) * other for other in found)
        found.append(rest / rest.norm())
    matrix = torch.stack(found, dim=1)
    return matrix if tall is weight else matrix.T


def reference(reads: Reads, weights: Weights) -> tuple[dict, dict]:
    """Values and gradients of the formula: a row at a time without padding, a word at a time."""
    student, teacher = tiny_student().double(), tiny_teacher(dtype=torch.float64).encoder

    def read(encoder, row: ReadRow) -> tuple[Tensor, Tensor]:
        ids = torch.tensor([list(row.ids)])
        types = torch.tensor([[int(i >= row.b_start) for i in range(len(row.ids))]])
        outputs = encoder(ids, torch.ones_like(ids), types)
        return outputs["last_hidden_state"][0], outputs["pooler_output"][0]

    isometry = orthonormal(student.to_teacher.weight)

    def distance(h: Tensor, t: Tensor) -> Tensor:
        mapped = isometry @ h
        return 1 - (mapped @ t) / (mapped.norm() * t.norm())

    theirs = [read(teacher, row)[0] for row in reads.texts]
    words, wholes, errors = [], [], []
    for reading in reads.readings:
        ours, pooled = read(student.encoder, reading.row)
        if len(reading.texts) == 1:
            wholes.append(distance(ours.mean(0), theirs[reading.texts[0]].mean(0)))
        else:
            one, other = (theirs[number].mean(0) for number in reading.texts)
            score = student.to_score.weight[0] @ pooled + student.to_score.bias[0]
            errors.append((score - one @ other / (one.norm() * other.norm())) ** 2)
        for (which, *place), (a, b) in reading.row.words.items():
            number = reading.texts[which]
            if (0, *place) in reads.texts[number].words:
                c, d = reads.texts[number].words[0, *place]
                mine, their = sum(ours[a:b]) / (b - a), sum(theirs[number][c:d]) / (d - c)
                words.append(distance(mine, their))
    values = {
        f"{name}_loss": sum(found) / len(found)
        for name, found in zip(weights._fields, (words, wholes, errors), strict=True)
        if found
    }
    loss = sum(getattr(weights, name.split("_")[0]) * value for name, value in values.items())
    loss.backward()
    values["loss"] = loss
    return {name: value.item() for name, value in values.items()}, gradients(student)


@cache
def reference_of_hostile(weights: Weights) -> tuple[dict, dict]:
    return reference(hostile(), weights)


@pytest.mark.parametrize(
    ("weights", "piece"),
    [
        (ONE, 5),
        (Weights(0.3, 2.0, 5.0), 1),
        (Weights(0.3, 2.0, 5.0), 1000),
        (Weights(0.0, 1.0, 0.0), 5),
        (Weights(0.0, 0.0, 1.0), 5),
    ],
    ids=str,
)
def test_it_equals_the_formula(weights: Weights, piece: int) -> None:
    reads = hostile()
    expected, expected_gradients = reference_of_hostile(weights)
    model = tiny_student().double()
    taught = objective(piece, weights, dtype=torch.float64)
    found = taught.backward(model, batch_of(reads), 3)
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, 1e-11)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-8, atol=1e-11)
    learnt = "to_score.weight" if weights.sentence == 0 else "to_teacher.weight"
    assert float(gradients(model)[learnt].norm()) > 0
    moved = {n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert not any(name.startswith(("mlm.", "nsp.")) for name in moved)
    assert any(name.startswith("encoder.pooler.") for name in moved) == (weights.score > 0)


def test_it_learns_to_compare_texts_that_it_reads_together() -> None:
    """It comes to explain nearly all that differs between the teacher's cosines of some pairs."""
    words = [word for word in VOCAB if word.isalpha()]
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(words, size=4)) for _ in range(12)]
    reads = hostile(list(zip(texts[::2], texts[1::2], strict=True)))
    taught = objective(weights=Weights(0.0, 0.0, 1.0))
    model = fresh(TINY, 0, dropout=0.0, teacher_size=SHAPE.hidden_size)
    vectors = tiny_teacher().read(reads.texts, 100).texts
    pairs = [reading.texts for reading in reads.readings if len(reading.texts) == 2]
    a, b = (vectors[[pair[side] for pair in pairs]] for side in (0, 1))
    spread = torch.cosine_similarity(a, b).var()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(90):
        optimizer.zero_grad()
        found = taught.backward(model, batch_of(reads), step)
        optimizer.step()
    assert found["score_loss"] < 0.1 * spread


def test_without_pairs_there_is_no_score() -> None:
    reads = hostile([row for row in ROWS if len(row) == 1])
    model, taught = tiny_student().double(), objective(7, dtype=torch.float64)
    found = taught.backward(model, batch_of(reads), 3)
    expected, _ = reference(reads, ONE)
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, 1e-11)
    assert set(found) == {"word_loss", "sentence_loss", "loss"}
    assert model.encoder.pooler.weight.grad is None or not model.encoder.pooler.weight.grad.any()


def test_rows_without_words_have_a_sentence_loss_alone() -> None:
    rows = hostile([("",), ("\x01",), ("unknownword",)])
    model = tiny_student()
    found = objective().backward(model, batch_of(rows), 3)
    assert found["word_loss"] == 0
    assert found["loss"] == found["sentence_loss"] > 0
    assert all(bool(gradient.isfinite().all()) for gradient in gradients(model).values())


def test_a_student_that_is_its_teacher_has_no_loss() -> None:
    teacher = tiny_teacher()
    model = tiny_student()
    model.encoder, model.to_teacher = teacher.encoder, torch.nn.Identity()
    model.to_score = torch.nn.Linear(SHAPE.hidden_size, 1)
    rows = read_rows([(text,) for text in HOSTILE], teacher.reader, teacher.reader, 0)
    taught = TeachingObjective(teacher, teacher.reader, ONE, 7)
    with torch.no_grad():
        for losses in taught.losses(model, rows):
            assert float(losses["loss"]) == pytest.approx(0.0, abs=1e-5)


def test_the_teacher_is_read_without_dropout_and_its_bits_stay() -> None:
    teacher, model, rows = tiny_teacher(), tiny_student(dropout=0.5), hostile()
    before = {name: t.clone() for name, t in teacher.encoder.state_dict().items()}
    taught = TeachingObjective(teacher, our_reader(), ONE, 4)
    first, again, other = (
        taught.backward(model, batch_of(rows), seed)["loss"] for seed in (1, 1, 2)
    )
    assert first == again != other  # the student's dropout
    one, two = (teacher.read(rows.texts, 5) for _ in range(2))
    assert torch.equal(one.words, two.words)
    assert torch.equal(one.texts, two.texts)
    assert not one.words.requires_grad
    assert all(torch.equal(t, before[n]) for n, t in teacher.encoder.state_dict().items())
    assert all(param.grad is None for param in teacher.encoder.parameters())


def test_in_bf16_the_loss_is_nearly_the_same() -> None:
    rows = hostile()
    exact = objective().backward(tiny_student(), batch_of(rows), 3)["loss"]
    teacher = dataclasses.replace(tiny_teacher(), autocast=torch.bfloat16)
    lowered = TeachingObjective(teacher, our_reader(), ONE, 100)
    found = lowered.backward(tiny_student(), batch_of(rows), 3)["loss"]
    assert found != exact
    assert float(found) == pytest.approx(float(exact), rel=0.05)


def test_a_batch_counts_the_students_tokens() -> None:
    reads = hostile()
    lengths = sorted(len(reading.row.ids) for reading in reads.readings)
    for piece in (1, 4, 1000):
        batch = batch_of(reads, piece)
        assert batch.real_tokens == sum(lengths)
        parts = [lengths[first : first + piece] for first in range(0, len(lengths), piece)]
        assert batch.padded_tokens == sum(len(part) * max(part) for part in parts)


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_held_out_scores_do_not_hang_on_the_pieces(tmp_path: Path, piece: int) -> None:
    write_course_files(tmp_path, rows=10, tasks=["sts"])
    pairs = read_pairs(tmp_path / "sts-dev.csv", our_reader())
    model, rows, weights = tiny_student(), hostile((*TWO, *ROWS[::3])), Weights(0.5, 2.0, 3.0)
    scored = score_taught(model, objective(piece, weights), rows, pairs, piece)
    values = objective(100, weights).backward(model, batch_of(rows), 3)
    assert scored.criterion == pytest.approx(-values["loss"].item(), rel=1e-5)
    for name in ("word", "sentence", "score"):
        value = values[f"{name}_loss"].item()
        assert scored.scores[f"{name} loss"] == pytest.approx(value, rel=1e-5)
    cosines, together = correlations(model, tmp_path)
    assert scored.scores["pairs' r"] == pytest.approx(cosines, abs=1e-5)
    assert scored.scores["together"] == pytest.approx(together, abs=1e-5)
    alone = score_taught(model, objective(piece, weights), rows, None, piece)
    assert list(alone.scores) == ["word loss", "sentence loss", "score loss"]
    unpaired = score_taught(model, objective(piece), hostile(ROWS[:9]), pairs, piece)
    assert list(unpaired.scores) == ["word loss", "sentence loss", "pairs' r"]


@torch.no_grad()
def correlations(model, folder: Path) -> tuple[float, float]:
    """Those of cosines and of scores with the labels, from the file's lines, a pair at a time."""
    cosines, scores, labels = [], [], []
    for line in (folder / "sts-dev.csv").read_text().splitlines()[1:]:
        _, _, *texts, label = line.split("\t")
        ab, encoder = [], model.eval().encoder
        for row in our_reader().read([*((text,) for text in texts), tuple(texts)]):
            ids = torch.tensor([list(row.ids)])
            types = (torch.arange(len(row.ids)) >= row.b_start).long()[None]
            ab.append(encoder(ids, torch.ones_like(ids), types))
        a, b = (out["last_hidden_state"][0].mean(0) for out in ab[:2])
        cosines.append(float(a @ b / (a.norm() * b.norm())))
        scores.append(float(model.to_score(ab[2]["pooler_output"])))
        labels.append(float(label))
    return tuple(float(np.corrcoef(found, labels)[0, 1]) for found in (cosines, scores))


def test_pairs_of_another_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("id\tsentence1\n1\ta\n")
    with pytest.raises(InputError, match="no column"):
        read_pairs(tmp_path / "pairs.csv", our_reader())

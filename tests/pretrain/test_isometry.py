"""The map between student and teacher: it keeps angles, and begins where it suits them best."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from minbert.pretrain.model import Isometry
from minbert.pretrain.teaching import TeachingObjective, Weights
from tests.pretrain.taught import our_reader, tiny_student, tiny_teacher
from tests.pretrain.test_teacher_objective import hostile


def some(rows: int, size: int, seed: int) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(rows, size, generator=source, dtype=torch.float64)


def isometry(size: int, target: int, seed: int = 0) -> Isometry:
    """Of a weight that is not orthonormal itself."""
    made = Isometry(size, target).double()
    made.weight.data = some(target, size, seed)
    return made


@pytest.mark.parametrize(("size", "target"), [(5, 5), (4, 9), (1, 3)])
def test_lengths_and_angles_stay(size: int, target: int) -> None:
    vectors, made = some(20, size, 1), isometry(size, target)
    torch.testing.assert_close(made(vectors) @ made(vectors).T, vectors @ vectors.T)


def test_to_fewer_dimensions_it_is_a_projection_and_a_rotation() -> None:
    made, vectors = isometry(7, 3), some(20, 7, 1)
    back = torch.eye(3, dtype=torch.float64)
    matrix = made(torch.eye(7, dtype=torch.float64)).T
    torch.testing.assert_close(matrix @ matrix.T, back)
    assert bool((made(vectors).norm(dim=1) <= vectors.norm(dim=1)).all())


def test_an_orthonormal_weight_is_the_matrix_itself() -> None:
    made = Isometry(4, 9).double()
    torch.nn.init.orthogonal_(made.weight)
    torch.testing.assert_close(made(torch.eye(4, dtype=torch.float64)).T, made.weight)


@pytest.mark.parametrize(("size", "target"), [(5, 5), (4, 9), (9, 4)])
def test_gradients_are_those_of_finite_differences(size: int, target: int) -> None:
    made, vectors = isometry(size, target), some(3, size, 1).requires_grad_()

    def mapped(weight: Tensor, vectors: Tensor) -> Tensor:
        return torch.func.functional_call(made, {"weight": weight}, (vectors,))

    assert torch.autograd.gradcheck(mapped, (made.weight, vectors))


@pytest.mark.parametrize(("size", "target"), [(5, 5), (4, 9), (6, 4)])
def test_no_isometry_suits_better_than_the_fitted_one(size: int, target: int) -> None:
    ours, theirs = F.normalize(some(50, size, 1)), F.normalize(some(50, target, 2))

    def gain(made: Isometry) -> float:
        return float((made(ours) * theirs).sum().detach())

    best, other = isometry(size, target), isometry(size, target)
    best.fit(theirs.T @ ours)
    for seed in range(200):
        other.weight.data = best.weight.data + 10.0 ** -(seed % 5) * some(target, size, seed)
        assert gain(other) <= gain(best) + 1e-9


def test_a_planted_rotation_is_found() -> None:
    planted, ours = isometry(4, 9), F.normalize(some(50, 4, 1))
    theirs = planted(ours).detach()
    made = Isometry(4, 9).double()
    made.fit(theirs.T @ ours)
    torch.testing.assert_close(made(ours), theirs)


@pytest.mark.parametrize("piece", [3, 100])
def test_the_objective_begins_with_the_best_one_for_words_and_sentences(piece: int) -> None:
    """No map near it gives its words and sentences, each counted once, a larger cosine in sum."""
    reads, model = hostile(), tiny_student().double()
    teacher = tiny_teacher(dtype=torch.float64)
    words, alone, _ = reads.counts
    taught = TeachingObjective(teacher, our_reader(), Weights(words, alone, 0.0), piece)
    taught.fit(model, reads)

    def loss() -> float:
        with torch.no_grad():
            return sum(float(losses["loss"]) for losses in taught.losses(model, reads))

    assert model.to_teacher is not None
    best, weight = loss(), model.to_teacher.weight.data.clone()
    for seed in range(20):
        model.to_teacher.weight.data = weight + 0.1 * some(*weight.shape, seed)
        assert loss() >= best

"""A batch in pieces: the whole batch's gradient and values.

Noise is a function of the embeddings here, so that an example has the same in whatever piece.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from itertools import cycle
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.finetune.build import in_pieces
from minbert.finetune.config import RunConfig
from minbert.finetune.microbatches import MicroBatches
from minbert.model import MultitaskBert
from minbert.regularizers import spectral
from minbert.regularizers.freelb import FreeLB
from minbert.regularizers.objective import Objective
from minbert.regularizers.r3f import CHOICES, R3F
from minbert.regularizers.smart.adversarial import Adversarial
from minbert.regularizers.smart.bregman import Bregman
from minbert.training import group
from tests.helpers import rest_slow
from tests.regularizers.checks import seen_masks
from tests.tiny_models import CASES, Case, gradients, tiny_batch, tiny_model
from tests.training.test_training_steps import drift

LENGTHS = {1: (7, 4, 5, 3, 6), 2: (7, 4, 5, 3, 6, 2, 3, 7, 3, 5)}  # of five examples' texts


def five(case: Case) -> Batch:
    return tiny_batch(case, lengths=LENGTHS[case.views])


def noise_of(embeddings: Tensor) -> Tensor:
    return 0.01 * (1e3 * embeddings.detach()).sin()


def noised(_term: R3F, batch: Batch, embeddings: Tensor | None, _seed: int) -> Tensor:
    assert embeddings is not None and batch.tokens is not None
    return embeddings + noise_of(embeddings) * batch.tokens.attention_mask.unsqueeze(-1)


def started(_objective: FreeLB, model: MultitaskBert, batch: Batch, _seed: int) -> Tensor:
    assert batch.tokens is not None
    embeddings = model.encoder.embed(batch.tokens.input_ids)
    return noise_of(embeddings) * batch.tokens.attention_mask.unsqueeze(-1)


@pytest.fixture
def same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Adversarial, "_noise", lambda _term, like, _seed: noise_of(like))
    monkeypatch.setattr(R3F, "copy", noised)
    monkeypatch.setattr(FreeLB, "start", started)


def distant_teacher(model: MultitaskBert, dropout: str) -> Bregman:
    term = Bregman(model, dropout=dropout)
    drift(term._teacher)
    return term


def smart(model: MultitaskBert, dropout: str = "off", **settings: Any) -> Objective:
    ball = {"epsilon": 0.02, "sigma": 0.01, "eta": 0.01, **settings}
    return Objective(
        [Adversarial(dropout=dropout, **ball), distant_teacher(model, dropout)], warmup_steps=3
    )


def r4f(model: MultitaskBert) -> Objective:
    spectral.normalize([model.heads])
    return Objective([R3F(normalized_heads=True, weight=2.0)])


OBJECTIVES: dict[str, Callable[[MultitaskBert], Any]] = {
    "plain": lambda _model: Objective(),
    "smart off": smart,
    "smart shared": lambda model: smart(model, "shared"),
    "smart independent": lambda model: smart(model, "independent", steps=2),
    "smart reuse_clean": lambda model: smart(model, reuse_clean=True),
    "adversarial": lambda _model: Objective([Adversarial(epsilon=0.02, steps=3)]),
    "bregman": lambda model: Objective([distant_teacher(model, "off")]),
    **{
        f"r3f {dropout}": lambda _model, dropout=dropout: Objective([R3F(dropout=dropout)])
        for dropout in ("off", "shared", "independent")
    },
    "r3f fairseq": lambda _model: Objective([R3F(choices=CHOICES["fairseq"])]),
    "r4f": r4f,
    "r3f with smart": lambda model: Objective([R3F(dropout="off"), *smart(model).regularizers]),
    "freelb": lambda _model: FreeLB(steps=3, step_size=0.02, radius=0.05),
}

COSINE = Case("sts", "bi")  # has no weights to normalise
EVERY = [(case, n) for case in CASES for n in OBJECTIVES if (case, n) != (COSINE, "r4f")]
# every case with every objective, and each of the two with every size
CUT = [(*pair, size) for pair, size in zip(EVERY, cycle((1, 2, 3, 5, 8)))]


@functools.cache
def in_pieces_of(
    case: Case, name: str, size: int | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Values and gradients of one objective on a batch in pieces; its probes are on."""
    model = tiny_model(case, dropout=0, head_dropout=0)
    objective = MicroBatches(OBJECTIVES[name](model), size)
    values = objective.backward(model, five(case), 5, 0)
    return values, gradients(model)


def assert_equal(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-12, atol=1e-12, msg=name)


@pytest.mark.usefixtures("same_noise")
@pytest.mark.parametrize(
    ("case", "name", "size"), rest_slow(len(CUT) // 2, Random(0).sample(CUT, len(CUT))), ids=str
)
def test_pieces_add_up_to_the_batch(case: Case, name: str, size: int) -> None:
    whole, pieces = (in_pieces_of(case, name, rows) for rows in (None, size))
    for ours, expected in zip(pieces, whole, strict=True):
        assert_equal(ours, expected)
    assert any(gradient.abs().max() > 1e-3 for gradient in whole[1].values())


@pytest.mark.parametrize("name", ["plain", "smart off", "r3f independent", "freelb"])
@pytest.mark.parametrize("size", [None, 5, 6])
def test_a_batch_that_is_not_cut_is_the_inner_objectives(name: str, size: int | None) -> None:
    """To the bit, with dropout and noise on."""
    found = []
    case = Case("sts", "cross-relational")
    for wrap in (False, True):
        model = tiny_model(case)
        objective = OBJECTIVES[name](model)
        objective = MicroBatches(objective, size, halves=size is None) if wrap else objective
        values = objective.backward(model, five(case), 5, 0)
        found.append((values, gradients(model)))
    for plain, wrapped in zip(*found, strict=True):
        assert plain.keys() == wrapped.keys()
        assert all(torch.equal(plain[key], wrapped[key]) for key in plain)


def test_kept_features_are_cut_too() -> None:
    case = Case("para", "relational")
    features = torch.randn(2, 5, 16, dtype=torch.float64)
    batch = dataclasses.replace(five(case), tokens=None, features=features)
    found = []
    for size in (None, 2):
        model = tiny_model(case, dropout=0, head_dropout=0, frozen=True)
        values = MicroBatches(Objective(), size).backward(model, batch, 1)
        found.append({**values, **gradients(model)})
    assert_equal(found[1], found[0])


def test_every_piece_has_masks_and_noise_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    case, noise = Case("sst", "bi"), []
    draw = Adversarial._noise
    monkeypatch.setattr(
        Adversarial, "_noise", lambda *given: noise.append(draw(*given)) or noise[-1]
    )
    model = tiny_model(case)
    pieces = MicroBatches(Objective([Adversarial(dropout="shared")]), 1)
    with seen_masks(model) as seen:
        first = pieces.backward(model, five(case), 5, 1)
        again = pieces.backward(model, five(case), 5, 1)
        pieces.backward(model, five(case), 6, 1)
    steps = [seen[i : i + len(seen) // 3] for i in range(0, len(seen), len(seen) // 3)]
    assert steps[0] == steps[1] and set(steps[0]).isdisjoint(steps[2])
    assert len(set(steps[0])) == 5
    assert len({tuple(drawn[0, 0].tolist()) for drawn in noise[:5]}) == 5
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_gradients_are_added_to_those_that_are_there() -> None:
    case = Case("sst", "bi")
    model = tiny_model(case, dropout=0, head_dropout=0)
    pieces = MicroBatches(Objective(), 2)
    pieces.backward(model, five(case), 1)
    once = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    pieces.backward(model, five(case), 1)
    twice = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert_equal(twice, {name: 2 * gradient for name, gradient in once.items()})


# ------------------------------------------------------------------------------------ the flag


@pytest.mark.parametrize(
    ("settings", "size", "halves"),
    [
        ({}, None, True),
        ({"smart": True}, None, True),
        ({"r3f": True, "compat": "fairseq"}, None, True),
        ({"smart": True, "compat": "mtdnn"}, None, False),
        ({"smart": True, "compat": "smart-pytorch"}, None, False),
        ({"micro_batch_size": 3}, 3, False),
    ],
    ids=str,
)
def test_the_flag_decides_size_and_halving(
    settings: dict[str, Any], size: int | None, halves: bool
) -> None:
    pieces = in_pieces(RunConfig(**settings), Objective())
    assert (pieces.size, pieces._halves) == (size, halves)


def test_ranks_do_not_halve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "size", lambda: 2)
    assert not in_pieces(RunConfig(ranks=2), Objective())._halves

"""The rows of `--compat` against what the public code does, written out; and their flags."""

from __future__ import annotations

import pytest
import torch

from minbert.regularizers.base import TrainingPass
from minbert.regularizers.method import _sees
from minbert.regularizers.r3f import CHOICES as R3F_CHOICES
from minbert.regularizers.r3f import R3F, R3F_AND_R4F, R3FChoices
from minbert.regularizers.smart.adversarial import Adversarial, SmartChoices
from minbert.regularizers.smart.method import CHOICES as SMART_CHOICES
from minbert.regularizers.smart.method import SMART
from minbert.tasks.registry import TASKS
from tests.regularizers import formulas
from tests.regularizers.checks import assert_is_the_formula, net_of, seen_masks, weights_of
from tests.tiny_models import CASES, Case, tiny_batch, tiny_model

SEED = 77
VISIBLE = {"sigma": 1e-2, "eta": 1e-1}


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("dropout", ["independent", "off"])
@pytest.mark.parametrize("name", SMART.implementations)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_smart_is_what_the_code_does(case: Case, name: str, dropout: str, steps: int) -> None:
    model, batch = tiny_model(case), tiny_batch(case)
    term = Adversarial(**VISIBLE, steps=steps, dropout=dropout, choices=SMART_CHOICES[name])
    training = TrainingPass(model, batch, SEED)
    with seen_masks(model) as seen:
        ours = term.loss(model, batch, training)
    weights = weights_of(model)
    assert training.embeddings is not None
    noise = term._noise(training.embeddings.detach(), SEED)
    expected = formulas.published_adversarial(
        name,
        weights,
        net_of(case),
        batch,
        noise,
        seen if dropout == "off" else [SEED, *seen],
        entry=training.mask_seed(dropout, "adversarial", "entry"),
        eta=term.eta,
    )
    assert_is_the_formula(model, ours, weights, expected)
    blind = case.task != "sst" and (name == "smart-pytorch" or case.task == "para")
    assert (float(ours.detach()) == 0) == blind


@pytest.mark.parametrize("dropout", ["independent", "off"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_r3f_is_what_the_code_does(case: Case, dropout: str) -> None:
    model, batch = tiny_model(case), tiny_batch(case)
    term = R3F(sigma=1e-2, noise="uniform", dropout=dropout, choices=R3F_CHOICES["fairseq"])
    training = TrainingPass(model, batch, SEED, [term])
    ours = term.loss(model, batch, training)
    assert training.embeddings is not None
    x = training.embeddings.detach()
    weights = weights_of(model)
    masks = None if dropout == "off" else SEED
    expected = formulas.published_r3f(
        weights, net_of(case), batch, term.copy(batch, x, SEED) - x, masks
    )
    assert_is_the_formula(model, ours, weights, expected)
    assert (float(ours.detach()) == 0) == (case.task != "sst")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_papers_rows_are_the_defaults(case: Case) -> None:
    batch = tiny_batch(case)
    for kind, choices in ((Adversarial, SmartChoices()), (R3F, R3FChoices())):
        plain, named = (kind(sigma=1e-2, **more) for more in ({}, {"choices": choices}))
        model = tiny_model(case)
        values = [
            each.loss(model, batch, TrainingPass(model, batch, SEED, [each]))
            for each in (plain, named)
        ]
        assert torch.equal(*values)


def test_every_value_of_the_flag_has_its_row() -> None:
    assert SMART_CHOICES.keys() == SMART.implementations.keys()
    assert R3F_CHOICES.keys() == R3F_AND_R4F.implementations.keys()


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("paper", {"sst", "para", "sts", "cfimdb"}),
        ("mtdnn", {"sst", "sts", "cfimdb"}),
        ("smart-pytorch", {"sst", "cfimdb"}),
    ],
)
def test_a_softmax_over_one_output_sees_nothing(name: str, seen: set[str]) -> None:
    penalty = SMART_CHOICES.get(name, SmartChoices()).penalty
    assert {task for task in TASKS if _sees(penalty, TASKS[task])} == seen


def test_fairseqs_r3f_sees_classes_only() -> None:
    divergence = R3F_CHOICES["fairseq"].divergence
    assert {task for task in TASKS if _sees(divergence, TASKS[task])} == {"sst", "cfimdb"}

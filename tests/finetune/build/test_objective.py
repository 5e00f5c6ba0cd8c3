"""From a configuration to what a step minimises: which terms, with which settings."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from minbert.finetune.build import Parts
from minbert.regularizers import r3f as r3f_module
from minbert.regularizers.r3f import R3FChoices
from minbert.regularizers.smart import method as smart_method
from minbert.regularizers.smart.adversarial import SmartChoices
from minbert.support.errors import InputError
from tests.finetune.build.parts import make
from tests.helpers import same_tensors, whole_batch


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, []),
        ({"smart": True}, ["adversarial", "bregman"]),
        ({"smart": True, "no_bregman": True}, ["adversarial"]),
        ({"smart": True, "no_adversarial": True}, ["bregman"]),
    ],
    ids=str,
)
def test_what_is_off_is_absent(place: Path, changes: dict[str, Any], names: list[str]) -> None:
    terms = make(place, **changes).trainee.objective.inner.regularizers
    assert [term.name for term in terms] == names


def test_smarts_settings_reach_its_terms(place: Path) -> None:
    own = {
        "smart_lambda": 3.0,
        "smart_epsilon": 1e-3,
        "smart_sigma": 2e-3,
        "smart_eta": 3e-3,
        "smart_steps": 2,
        "smart_dropout": "shared",
        "bregman_mu": 0.5,
        "bregman_beta": 0.9,
    }
    terms: Any = make(place, smart=True, **own).trainee.objective.inner.regularizers
    adversarial, bregman = terms
    assert adversarial.weight == 3.0
    assert (adversarial.epsilon, adversarial.sigma) == (1e-3, 2e-3)
    assert (adversarial.eta, adversarial.steps) == (3e-3, 2)
    assert (bregman.weight, bregman.beta) == (0.5, 0.9)
    assert adversarial.dropout == bregman.dropout == "shared"


def test_the_bregman_term_may_have_masks_of_its_own(place: Path) -> None:
    terms: Any = make(place, smart=True, bregman_dropout="independent")
    adversarial, bregman = terms.trainee.objective.inner.regularizers
    assert (adversarial.dropout, bregman.dropout) == ("off", "independent")


def test_a_regression_trains_on_the_scale_asked_for(place: Path) -> None:
    parts, scaled = (make(place, tasks=("sts",), sts_scale=top) for top in (5.0, 1.0))
    one, other = (
        float(
            p.trainee.objective.backward(
                p.trainee.model, whole_batch(p.datasets["sts", "train"]), 1
            )["loss"]
        )
        for p in (parts, scaled)
    )
    assert other == pytest.approx(one / 25, rel=1e-5)


# ------------------------------------------------------------------------------------------- R4F


def norms(parts: Parts) -> dict[str, float]:
    return {
        name: float(torch.linalg.matrix_norm(layer.weight.detach(), ord=2))
        for name, layer in parts.trainee.model.named_modules()
        if isinstance(layer, torch.nn.Linear) and not name.startswith("encoder")
    }


def test_r4f_normalises_the_whole_head_and_no_more(place: Path) -> None:
    parts = make(place, r4f=True, rlayer=True)
    found = norms(parts)
    assert found.keys() == {
        "relational.dense",
        "heads.sst.output",
        "heads.para.output",
        "heads.sts.output",
    }
    assert list(found.values()) == pytest.approx([1.0] * 4, abs=1e-3)
    plain = make(place, rlayer=True).trainee.model.encoder.state_dict()
    assert same_tensors(parts.trainee.model.encoder.state_dict(), plain)
    assert [term.name for term in parts.trainee.objective.inner.regularizers] == ["r4f"]


def test_r4f_of_the_last_layer_leaves_the_relational_one(place: Path) -> None:
    found = norms(make(place, r4f=True, r4f_scope="last", rlayer=True))
    assert found.pop("relational.dense") != pytest.approx(1.0, abs=1e-2)
    assert list(found.values()) == pytest.approx([1.0] * 3, abs=1e-3)


def test_r4f_without_a_matrix_is_refused_alone_and_named_in_a_mix(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError, match="no weights to normalise"):
        make(place, r4f=True, tasks=("sts",))
    with caplog.at_level(logging.INFO, "minbert"):
        make(place, r4f=True)
    assert "sts: its head has no weights to normalise" in caplog.text


def test_the_proximal_teacher_of_a_normalised_head_is_normalised(place: Path) -> None:
    parts = make(place, r4f=True, smart=True, no_adversarial=True, lr=0.05)
    batch = whole_batch(parts.datasets["sst", "train"])
    for step in range(5):
        parts.trainee.objective.backward(parts.trainee.model, batch, step)
        parts.trainee.optimizer.step()
        parts.trainee.optimizer.zero_grad()
        parts.trainee.objective.after_step(parts.trainee.model)
    (teacher,) = (
        term._teacher
        for term in parts.trainee.objective.inner.regularizers
        if term.name == "bregman"
    )
    weight = teacher.heads["sst"].output.weight.detach()
    assert float(torch.linalg.matrix_norm(weight, ord=2)) == pytest.approx(1.0, abs=1e-3)


# -------------------------------------------------------------------------------------- --compat


def terms_of(place: Path, **changes: Any) -> dict[str, Any]:
    return {term.name: term for term in make(place, **changes).trainee.objective.inner.regularizers}


def test_a_variant_goes_to_the_term_that_it_is_one_of(place: Path) -> None:
    both = {"smart": True, "r3f": True}
    for compat, smart, r3f in (
        ("paper", "paper", "paper"),
        ("mtdnn", "mtdnn", "paper"),
        ("fairseq", "paper", "fairseq"),
    ):
        terms = terms_of(place, compat=compat, **both)
        assert terms["adversarial"]._choices == smart_method.CHOICES.get(smart, SmartChoices())
        assert terms["r3f"]._choices == r3f_module.CHOICES.get(r3f, R3FChoices())


def test_a_task_for_which_the_term_is_always_0_goes_without_and_is_named(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "minbert"):
        terms = terms_of(place, smart=True, compat="smart-pytorch", smart_lambda=0.02)
    assert terms["adversarial"].weight == {"sst": 0.02}
    assert "para, sts get no such term" in caplog.text
    weights = {"sst": 2.0, "sts": 1.0}
    terms = terms_of(place, smart=True, compat="mtdnn", smart_lambda=weights)
    assert terms["adversarial"].weight == weights
    assert terms_of(place, r4f=True, compat="fairseq")["r4f"].weight == {"sst": 1.0}


@pytest.mark.parametrize(
    ("compat", "term", "task"),
    [
        ("mtdnn", "smart", "para"),
        ("smart-pytorch", "smart", "sts"),
        ("fairseq", "r3f", "para"),
        ("fairseq", "r3f", "sts"),
    ],
)
def test_a_term_that_is_always_0_is_refused(place: Path, compat: str, term: str, task: str) -> None:
    with pytest.raises(InputError, match=f"--compat {compat} .* always 0 for {task}"):
        make(place, compat=compat, tasks=(task,), **{term: True})
    with pytest.raises(InputError, match=f"always 0 for {task}"):
        name = {"smart": "smart_lambda", "r3f": "r3f_lambda"}[term]
        make(place, compat=compat, **{term: True, name: {task: 1.0}})

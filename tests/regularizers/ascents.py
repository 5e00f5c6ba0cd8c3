"""The adversarial term's perturbation and value, for tests, and a start that is held."""

from __future__ import annotations

import pytest
from torch import Tensor

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.regularizers.base import TrainingPass
from minbert.regularizers.smart.adversarial import Adversarial
from tests.tiny_models import CASES

SEED = 77
POLICIES = ("off", "shared", "independent")
BI = tuple(case for case in CASES if case.form == "bi")
LARGE = {"epsilon": 1e-2, "sigma": 1e-2, "eta": 1e-2}


def hold_noise(monkeypatch: pytest.MonkeyPatch, noise: Tensor) -> None:
    """Every perturbation starts from `noise` (V·B, T, H)."""
    monkeypatch.setattr(Adversarial, "_noise", lambda _self, like, _seed: noise.to(like))


def perturbed(term: Adversarial, model: MultitaskBert, batch: Batch, seed: int = SEED) -> Tensor:
    return term.perturbation(model, batch, TrainingPass(model, batch, seed)).detach()


def value_of(term: Adversarial, model: MultitaskBert, batch: Batch) -> float:
    return float(term.loss(model, batch, TrainingPass(model, batch, SEED)).detach())

"""The numbers that papers and published code have, written out: no constant is its own witness."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from minbert.finetune.config import RunConfig
from minbert.finetune.presets import with_presets
from minbert.regularizers.freelb import FreeLB
from minbert.regularizers.r3f import R3F
from minbert.regularizers.smart.adversarial import Adversarial
from minbert.regularizers.smart.bregman import Bregman
from minbert.tasks.registry import TASKS
from minbert.training.optimizer import AdamW

FLAGS: dict[str, Any] = {
    # the poster's SMART; the paper's but for beta and dropout
    "smart_lambda": 5.0,
    "smart_epsilon": 1e-5,
    "smart_sigma": 1e-5,
    "smart_eta": 1e-3,
    "smart_steps": 1,
    "smart_dropout": "off",
    "bregman_mu": 1.0,
    "bregman_beta": 0.995,
    "bregman_beta_late": None,
    # R3F
    "r3f_lambda": 1.0,
    "r3f_noise": "normal",
    "r3f_sigma": 1e-5,
    "r3f_dropout": "independent",
    "r4f_scope": "head",
    # FreeLB
    "freelb_steps": 2,
    "freelb_lr": 0.1,
    "freelb_init": None,
    "freelb_radius": None,
    "term_warmup": 0.0,
    # the course's
    "hidden_dropout_prob": 0.3,
    "betas": (0.9, 0.999),
    "adam_eps": 1e-6,
    "weight_decay": 0.0,
    "warmup": 0.0,
    "schedule": "constant",
    "power": 2.0,
    "clip": None,
    "seed": 11711,
    "temperature": 5.0,
    "pre_epochs": 1,
    "pre_task": "para",
    "keep": "best",
    "limit_rows": "drawn",
    "epoch_rows": "fresh",
}
CONSTRUCTORS: dict[Any, dict[str, Any]] = {
    Adversarial: {
        "weight": 5.0,
        "epsilon": 1e-5,
        "sigma": 1e-5,
        "eta": 1e-3,
        "steps": 1,
        "dropout": "off",
        "reuse_clean": False,
    },
    Bregman: {"weight": 1.0, "beta": 0.995, "late_beta": None, "dropout": "off"},
    R3F: {"weight": 1.0, "noise": "normal", "sigma": 1e-5, "dropout": "independent"},
    FreeLB: {"steps": 2, "step_size": 0.1, "init": None, "radius": None},
    AdamW: {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.0},
}
FREELB = {  # task -> start, radius, step, passes: the scripts of SST-2, QQP and STS-B
    "sst": (1.0, 0.6, 0.1, 2),
    "cfimdb": (1.0, 0.6, 0.1, 2),
    "para": (0.32, 0.7, 0.2, 2),
    "sts": (0.16, 0.28, 0.1, 3),
}
COMPAT: dict[str, dict[str, Any]] = {
    "mtdnn": {
        "no_bregman": True,
        "smart_dropout": "independent",
        "smart_lambda": 1.0,
        "smart_eta": 1e-5,
    },
    "smart-pytorch": {"no_bregman": True, "smart_dropout": "independent", "smart_lambda": 0.02},
    "fairseq": {"r3f_noise": "uniform", "r4f_scope": "last"},
}


@pytest.mark.parametrize("name", FLAGS)
def test_a_flags_default(name: str) -> None:
    assert getattr(RunConfig(), name) == FLAGS[name]


@pytest.mark.parametrize("kind", CONSTRUCTORS, ids=lambda kind: kind.__name__)
def test_a_constructor_agrees_with_its_flags(kind: Any) -> None:
    parameters = inspect.signature(kind).parameters
    assert {name: parameters[name].default for name in CONSTRUCTORS[kind]} == CONSTRUCTORS[kind]


@pytest.mark.parametrize("name", TASKS)
def test_freelbs_numbers_are_its_scripts(name: str) -> None:
    task = TASKS[name]
    own = (task.freelb_init, task.freelb_radius, task.freelb_lr, task.freelb_steps)
    assert own == FREELB[name]


@pytest.mark.parametrize("name", COMPAT)
def test_implementations_run_with_their_own_numbers(name: str) -> None:
    assert with_presets({"compat": name}) == {"compat": name, **COMPAT[name]}

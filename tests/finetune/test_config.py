"""`RunConfig`: limits, contradictions, and what is filled in."""

from __future__ import annotations

import ast
import dataclasses
import math
import typing
from typing import Any

import pytest

from minbert.finetune.config import ResolvedConfig, RunConfig, _check_names
from minbert.finetune.flags import OptimizationFlags
from minbert.support.errors import InputError
from minbert.support.flags import for_task, refuse_idle, shown
from minbert.tasks.mixing import MIXINGS, WITH_ROUNDS
from minbert.tasks.registry import COURSE_TASKS
from minbert.training.optimizer import AdamW
from tests.finetune.run_settings import ALL_TASKS, BY_SIZE, FIELDS
from tests.helpers import ROOT

UNSET = ("lr", "epochs", "batch_size", "pooling")
NAN, INF = math.nan, math.inf


def config(**settings: Any) -> RunConfig:
    return RunConfig(**settings)


# ------------------------------------------------------------------------------------ defaults


def test_defaults_are_the_courses() -> None:
    plain = RunConfig()
    assert (plain.option, plain.seed, plain.hidden_dropout_prob) == ("pretrain", 11711, 0.3)
    assert plain.file("sst", "train") == "data/ids-sst-train.csv"
    assert plain.file("para", "test") == "data/quora-test-student.csv"
    assert plain.out_file("sts", "dev") == "predictions/sts-dev-output.csv"
    assert (plain.smart_epsilon, plain.smart_sigma, plain.smart_eta) == (1e-5, 1e-5, 1e-3)
    assert (plain.smart_lambda, plain.smart_steps, plain.smart_dropout) == (5.0, 1, "off")
    assert (plain.bregman_mu, plain.bregman_beta) == (1.0, 0.995)


def test_prediction_files_without_a_name_lie_in_their_folder() -> None:
    there = RunConfig(option="finetune", predictions_dir="mine/of {option}", sts_dev_out="a.csv")
    assert there.out_file("sst", "test") == "mine/of finetune/sst-test-output.csv"
    assert there.out_file("cfimdb", "dev") == "mine/of finetune/finetune-cfimdb-dev-out.csv"
    assert there.out_file("sts", "dev") == "a.csv"
    outs = {f"sst_{split}_out": f"{split}.csv" for split in ("dev", "test")}
    named = RunConfig(tasks=("sst",), predictions_dir="mine", **outs)
    with pytest.raises(InputError, match="--predictions_dir would do nothing"):
        refuse_idle(named, {"predictions_dir"})
    refuse_idle(there, {"predictions_dir"})


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("name", FIELDS)
def test_every_flag_says_what_it_does(name: str) -> None:
    facts = FIELDS[name].metadata
    assert facts["group"] and facts["help"]
    assert FIELDS[name].type in (bool, "bool") or facts["choices"] or facts["metavar"]


@pytest.mark.parametrize(("option", "lr"), [("pretrain", 1e-3), ("finetune", 1e-5)])
def test_resolved_takes_the_courses_values(option: str, lr: float) -> None:
    unset = RunConfig(option=option)
    assert [getattr(unset, name) for name in UNSET] == [None] * 4
    done = unset.resolved()
    assert (done.lr, done.epochs, done.batch_size, done.pooling) == (lr, 10, 8, "cls")
    others = {name: getattr(done, name) for name in UNSET}
    others |= {f"{t}_{s}_out": done.out_file(t, s) for t in COURSE_TASKS for s in ("dev", "test")}
    expected = {**dataclasses.asdict(unset), **others}
    assert dataclasses.asdict(done) == expected  # nothing else changes
    assert type(done) is ResolvedConfig


def test_resolved_takes_what_is_recommended_before_the_courses_values() -> None:
    advice = {"lr": 3e-4, "epochs": 4, "pooling": "mean"}
    done = RunConfig(option="finetune").resolved(advice)
    assert (done.lr, done.epochs, done.batch_size, done.pooling) == (3e-4, 4, 8, "mean")
    typed = RunConfig(option="finetune", lr=1e-5, batch_size=2, pooling="cls").resolved(advice)
    assert (typed.lr, typed.epochs, typed.batch_size, typed.pooling) == (1e-5, 4, 2, "cls")


def test_a_heads_rate_is_recommended_beside_the_encoders_alone() -> None:
    advice = {"lr": 1e-4, "head_lr": 3e-3}
    assert RunConfig(option="finetune").resolved(advice).head_lr == 3e-3
    assert RunConfig(option="finetune", lr=1e-5).resolved(advice).head_lr is None
    assert RunConfig(option="finetune", lr=1e-5, head_lr=1e-4).resolved(advice).head_lr == 1e-4
    assert RunConfig(option="finetune").resolved({"lr": 1e-4}).head_lr is None
    assert RunConfig(option="finetune", lr=1e-5).taken_from(advice) == {}
    assert RunConfig(option="finetune").taken_from({"head_lr": 3e-3}) == {}
    assert RunConfig(option="pretrain").taken_from(advice) == {"lr": 1e-4}
    assert RunConfig(option="finetune", tasks=("sts",)).taken_from(advice) == {"lr": 1e-4}


def test_resolved_leaves_what_is_set() -> None:
    given = RunConfig(option="finetune", lr=3e-4, epochs=1, batch_size=64)
    done = given.resolved()
    assert (done.lr, done.epochs, done.batch_size) == (3e-4, 1, 64)
    assert done.resolved() == done


@pytest.mark.parametrize(
    ("settings", "trained", "evaluated"),
    [
        ({}, ("sst",), COURSE_TASKS),
        ({"rrobin": "equal"}, COURSE_TASKS, COURSE_TASKS),
        ({"tasks": ("sts",)}, ("sts",), ("sts",)),
        ({"tasks": ("cfimdb",)}, ("cfimdb",), ("cfimdb",)),
        ({"tasks": ("sts", "sst"), "rrobin": "equal"}, ("sts", "sst"), COURSE_TASKS),
        ({"tasks": ("cfimdb", "para"), "rrobin": "equal"}, ("cfimdb", "para"), ALL_TASKS),
    ],
)
def test_trained_and_evaluated_tasks(
    settings: dict[str, Any], trained: tuple[str, ...], evaluated: tuple[str, ...]
) -> None:
    assert config(**settings).trained_tasks == trained
    assert config(**settings).evaluated_tasks == evaluated


@pytest.mark.parametrize("option", ["pretrain", "finetune"])
@pytest.mark.parametrize("task", ALL_TASKS)
@pytest.mark.parametrize("split", ["dev", "test"])
def test_predictions_of_a_single_task_are_named_for_the_option(
    option: str, task: str, split: str
) -> None:
    alone = f"predictions/{option}-{task}-{split}-out.csv"
    together = alone if task == "cfimdb" else f"predictions/{task}-{split}-output.csv"
    assert config(option=option, tasks=(task,)).out_file(task, split) == alone
    both = config(option=option, tasks=ALL_TASKS, rrobin="equal")
    assert both.out_file(task, split) == together
    assert getattr(both.resolved(), f"{task}_{split}_out") == together
    typed = config(option=option, tasks=(task,), **{f"{task}_{split}_out": together})
    assert typed.out_file(task, split) == typed.resolved().out_file(task, split) == together


@pytest.mark.parametrize("name", ["a{b}.csv", "{}.csv", "{0}.csv", "a}b.csv", "{option.x}.csv"])
def test_braces_in_a_file_name_are_only_braces(name: str) -> None:
    assert config(sst_dev_out=name).out_file("sst", "dev") == name


# -------------------------------------------------------------------------------------- limits

COUNT = ((0, -1), (1, 7))
OPEN = ((0.0, -1e-3, NAN, INF), (1e-12, 1e6))
BELOW_ONE = ((-0.1, 1.0, 1.5, NAN, INF), (0.0, 0.999))
LIMITS: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {  # refused, accepted
    "epochs": COUNT,
    "batch_size": COUNT,
    "max_steps": COUNT,
    "pre_epochs": COUNT,
    "epoch_batches": COUNT,
    "temperature": ((0.0, 0.5, -1.0, NAN, INF), (1.0, 5.0, 1e9)),
    "limit": COUNT,
    "limit_train": COUNT,
    "limit_train_seed": ((-1,), (0, 7)),
    "checkpoint_every": COUNT,
    "ranks": COUNT,
    "threads": ((0, -1, 1025, 10**6), (1, 2, 1024)),
    "micro_batch_size": ((0, -1, "8.5", "-1", "all", ""), ("auto", 1, 7)),
    "seed": ((-1,), (0, 2**40)),
    "max_length": ((4, 0, -1), (5, 512)),
    "hidden_dropout_prob": BELOW_ONE,
    "rlayer_dropout": BELOW_ONE,
    "sts_scale": OPEN,
    "lr": OPEN,
    "head_lr": OPEN,
    "weight_decay": ((-0.1, NAN, INF), (0.0, 0.1)),
    "betas": (((1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (0.9, NAN)), ((0.0, 0.0), (0.9, 0.98))),
    "adam_eps": OPEN,
    "power": OPEN,
    "warmup": BELOW_ONE,
    "clip": OPEN,
    "smart_lambda": ((*OPEN[0], {"sst": 0.0}), (*OPEN[1], {"sst": 2.0})),
    "smart_epsilon": OPEN,
    "smart_sigma": OPEN,
    "smart_eta": OPEN,
    "smart_steps": ((-1,), (0, 3)),
    "r3f_lambda": OPEN,
    "r3f_sigma": ((-1e-3, NAN, INF), (0.0, 1e-5)),
    "term_warmup": BELOW_ONE,
    "freelb_steps": ((0, -1, {"sst": 0}), (1, 7, {"sst": 3})),
    "freelb_lr": OPEN,
    "freelb_init": ((-1.0, NAN, INF, {"sst": -1.0}), (0.0, 0.5, {"sst": 0.5})),
    "freelb_radius": ((0.0, -1.0, NAN, {"sst": 0.0}), (0.5, {"sst": 0.5})),
    "bregman_mu": OPEN,
    "bregman_beta": BELOW_ONE,
    "bregman_beta_late": BELOW_ONE,
}
REFUSED = [(name, value) for name, (bad, _) in LIMITS.items() for value in bad]
ACCEPTED = [(name, value) for name, (_, good) in LIMITS.items() for value in good]


def test_every_number_has_a_limit_and_is_tested() -> None:
    assert set(LIMITS) == {name for name, entry in FIELDS.items() if entry.metadata["limit"]}
    numbers = [
        n
        for n, kind in typing.get_type_hints(RunConfig).items()
        if {int, float} & {kind, *typing.get_args(kind)}
    ]
    assert set(numbers) <= set(LIMITS)


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_value_beyond_its_limit(name: str, value: Any) -> None:
    with pytest.raises(InputError) as refused:
        config(**{name: value})
    typed = shown(value)
    assert str(refused.value).startswith(f"--{name} {typed}: must be ")


@pytest.mark.parametrize(("name", "value"), ACCEPTED)
def test_a_value_at_its_limit(name: str, value: Any) -> None:
    assert getattr(config(**{name: value}), name) == value


@pytest.mark.parametrize("value", [0.99, 1.0, 3.0])
def test_weight_decay_is_refused_here_or_accepted_there(value: float) -> None:
    """The optimizer must take whatever the configuration lets through."""
    import torch

    try:
        accepted = config(weight_decay=value)
    except InputError:
        return
    AdamW([torch.nn.Parameter(torch.zeros(1))], weight_decay=accepted.weight_decay)


CHOSEN = [(name, entry.metadata["choices"]) for name, entry in FIELDS.items()]
CHOSEN = [(name, choices) for name, choices in CHOSEN if choices]


@pytest.mark.parametrize(("name", "choices"), CHOSEN)
def test_choices(name: str, choices: tuple[str, ...]) -> None:
    for choice in choices:
        assert getattr(config(**{name: choice}), name) == choice
    for wrong in ("", "nonsense", choices[0].upper()):
        with pytest.raises(InputError, match=f"--{name} {wrong}: not one of {choices[0]}"):
            config(**{name: wrong})


# -------------------------------------------------------------------------------- contradictions


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rrobin": "nonsense"}, "--rrobin nonsense: no such schedule"),
        ({"rrobin": ""}, "no such schedule"),
        ({"rrobin": "annealed", "epochs": 1}, "--rrobin annealed --epochs 1: needs two"),
        ({"rrobin": "pre", "pre_task": "cfimdb"}, "--pre_task cfimdb: does not train: sst, para"),
        ({"rrobin": "pre", "tasks": ("sst", "sts")}, "--pre_task para: does not train: sst, sts"),
        ({"rrobin": "pre", "pre_task": "nonsense"}, "--pre_task nonsense: does not train"),
        *(
            ({"rrobin": kind, "steps_per_task": "summed"}, "no rounds to sum over; .*equal")
            for kind in BY_SIZE
        ),
        ({"tasks": ("sst", "nonsense"), "rrobin": "equal"}, "--tasks nonsense: no such task"),
        ({"tasks": ("",)}, "no such task"),
        ({"tasks": ()}, "--tasks"),
        ({"tasks": ("sst", "sts", "sst"), "rrobin": "equal"}, "named twice"),
        ({"tasks": ("sst", "sts")}, "--tasks sst,sts: several tasks need --rrobin"),
        ({"tasks": ("sst",), "rrobin": "equal"}, "needs two tasks or more"),
        ({"smart": True, "no_adversarial": True, "no_bregman": True}, "nothing is left of --smart"),
        ({"use_gpu": True, "device": "cpu"}, "--use_gpu --device cpu: they contradict"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        config(**settings)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", MIXINGS)
def test_every_schedule_is_accepted(kind: str) -> None:
    assert config(rrobin=kind).rrobin == kind


def test_annealing_needs_two_epochs_whoever_says_how_many() -> None:
    assert config(rrobin="annealed").resolved().epochs == 10
    with pytest.raises(InputError, match="--epochs 1"):
        config(rrobin="annealed").resolved({"epochs": 1})


@pytest.mark.parametrize("kind", WITH_ROUNDS)
def test_rounds_can_be_summed(kind: str) -> None:
    assert config(rrobin=kind, steps_per_task="summed").steps_per_task == "summed"


@pytest.mark.parametrize("device", ["auto", "cuda", "mps"])
def test_use_gpu_goes_with_any_gpu(device: str) -> None:
    assert config(use_gpu=True, device=device).use_gpu


# ------------------------------------------------------------------------------- numbers a task


def test_a_number_may_be_a_tasks_own() -> None:
    three = config(rrobin="equal", smart_lambda={"sst": 5.0, "sts": 1.0})
    assert [for_task(three.smart_lambda, task) for task in COURSE_TASKS] == [5.0, 0.0, 1.0]
    assert for_task(three.bregman_mu, "para") == 1.0


@pytest.mark.parametrize("name", ["smart_lambda", "bregman_mu", "r3f_lambda", "freelb_radius"])
def test_a_number_of_a_task_that_does_not_train_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"--{name} sst=1,para=2: para does not train"):
        config(**{name: {"sst": 1.0, "para": 2.0}})


def test_freelb_needs_a_number_for_every_task() -> None:
    with pytest.raises(InputError, match="--freelb_radius sst=1: names no number for para"):
        config(rrobin="equal", freelb=True, freelb_radius={"sst": 1.0})


@pytest.mark.parametrize("other", ["smart", "r3f", "r4f"])
def test_freelb_takes_the_place_of_the_training_pass(other: str) -> None:
    with pytest.raises(InputError, match=f"--freelb --{other}"):
        config(freelb=True, **{other: True})


# ---------------------------------------------------------------------------- names of settings


def test_every_setting_that_is_read_exists() -> None:
    """The type checker cannot see what only the registries bring: tasks and regularizers."""
    known = {*FIELDS, *dir(ResolvedConfig)}
    read = [
        (path.name, node.attr)
        for room in ("finetune", "regularizers")
        for path in (ROOT / "minbert" / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id == "c" or (node.value.id == "config" and room == "finetune"))
    ]
    assert len(read) > 100
    assert [name for name in read if name[1] not in known] == []


def test_a_flags_name_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OptimizationFlags, "__annotations__", {"temperature": float})
    with pytest.raises(ValueError, match="flags of the same name: temperature"):
        _check_names()

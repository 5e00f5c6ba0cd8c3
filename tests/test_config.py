"""`RunConfig`: limits, contradictions, flags that would do nothing, and what is filled in."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from minbert.config import (
    COURSE_TASKS,
    UNSET,
    RunConfig,
    idle_rules,
)
from minbert.flags import for_task, refuse_idle, shown
from minbert.main_flags import DATA, OUTPUT
from minbert.optimizer import AdamW
from minbert.regularizer_flags import FREELB, SMART, SMART_VARIANTS
from minbert.runtime import InputError
from minbert.schedules import SCHEDULES, WITH_ROUNDS

FIELDS = {entry.name: entry for entry in dataclasses.fields(RunConfig)}
ALL_TASKS = (*COURSE_TASKS, "cfimdb")
BY_SIZE = [name for name in SCHEDULES if name not in WITH_ROUNDS]
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


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("name", FIELDS)
def test_every_flag_says_what_it_does(name: str) -> None:
    facts = FIELDS[name].metadata
    assert facts["group"] and facts["help"]
    assert FIELDS[name].type == "bool" or facts["choices"] or facts["metavar"]


@pytest.mark.parametrize(("option", "lr"), [("pretrain", 1e-3), ("finetune", 1e-5)])
def test_resolved_takes_the_courses_values(option: str, lr: float) -> None:
    unset = RunConfig(option=option)
    assert [getattr(unset, name) for name in UNSET] == [None] * 4
    done = unset.resolved()
    assert (done.lr, done.epochs, done.batch_size, done.pooling) == (lr, 10, 8, "cls")
    others = {name: getattr(done, name) for name in UNSET}
    others |= {f"{t}_{s}_out": done.out_file(t, s) for t in COURSE_TASKS for s in ("dev", "test")}
    assert dataclasses.replace(unset, **others) == done  # nothing else changes


def test_resolved_takes_what_is_recommended_before_the_courses_values() -> None:
    advice = {"lr": 3e-4, "epochs": 4, "pooling": "mean"}
    done = RunConfig(option="finetune").resolved(advice)
    assert (done.lr, done.epochs, done.batch_size, done.pooling) == (3e-4, 4, 8, "mean")
    typed = RunConfig(option="finetune", lr=1e-5, batch_size=2, pooling="cls").resolved(advice)
    assert (typed.lr, typed.epochs, typed.batch_size, typed.pooling) == (1e-5, 4, 2, "cls")


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
    "checkpoint_every": COUNT,
    "ranks": COUNT,
    "seed": ((-1,), (0, 2**40)),
    "max_length": ((4, 0, -1), (5, 512)),
    "hidden_dropout_prob": BELOW_ONE,
    "lr": OPEN,
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
    "r3f_sigma": OPEN,
    "term_warmup": BELOW_ONE,
    "freelb_steps": COUNT,
    "freelb_lr": OPEN,
    "freelb_init": ((-1.0, NAN, INF, {"sst": -1.0}), (0.0, 0.5, {"sst": 0.5})),
    "freelb_radius": ((0.0, -1.0, NAN, {"sst": 0.0}), (0.5, {"sst": 0.5})),
    "bregman_mu": OPEN,
    "bregman_beta": BELOW_ONE,
}
REFUSED = [(name, value) for name, (bad, _) in LIMITS.items() for value in bad]
ACCEPTED = [(name, value) for name, (_, good) in LIMITS.items() for value in good]


def test_every_number_has_a_limit_and_is_tested() -> None:
    assert set(LIMITS) == {name for name, entry in FIELDS.items() if entry.metadata["limit"]}
    numbers = [n for n, e in FIELDS.items() if "int" in e.type.split() or "float" in e.type.split()]
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


@pytest.mark.parametrize("kind", SCHEDULES)
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


# ---------------------------------------------------------------------------------- idle flags

EVERYTHING = {"tasks": ALL_TASKS, "rrobin": "equal"}
ADVERSARIAL = ("smart_lambda", "smart_epsilon", "smart_sigma", "smart_eta", "smart_steps")
BREGMAN = ("bregman_mu", "bregman_beta")
OF_ITS_OWN = ("smart", "smart_reuse_clean")  # needs more than --smart: tested below
SMART_FLAGS = [n for n, e in FIELDS.items() if e.metadata["group"] == SMART and n not in OF_ITS_OWN]

R3F_FLAGS = [n for n in FIELDS if n.startswith("r3f_")]


def idle(name: str, **settings: Any) -> str:
    """The refusal of a typed flag in this combination, empty where the flag acts."""
    try:
        refuse_idle(config(**settings), {name}, idle_rules())
    except InputError as error:
        assert str(error).startswith(f"--{name} would do nothing here: it needs ")
        return str(error)
    return ""


def test_nothing_typed_is_never_idle() -> None:
    refuse_idle(RunConfig(), (), idle_rules())
    refuse_idle(config(smart=True, no_bregman=True, schedule="linear"), (), idle_rules())


@pytest.mark.parametrize("name", SMART_FLAGS)
def test_smart_flags_need_smart(name: str) -> None:
    assert "needs --smart" in idle(name)
    assert not idle(name, smart=True)


@pytest.mark.parametrize("name", R3F_FLAGS)
def test_r3f_flags_need_r3f(name: str) -> None:
    assert "needs --r3f or --r4f" in idle(name)
    assert not idle(name, r3f=True)
    assert not idle(name, r4f=True)


FREELB_FLAGS = [n for n, e in FIELDS.items() if e.metadata["group"] == FREELB and n != "freelb"]


@pytest.mark.parametrize("name", FREELB_FLAGS)
def test_freelb_flags_need_freelb(name: str) -> None:
    assert "needs --freelb" in idle(name)
    assert not idle(name, freelb=True)


def test_r4f_has_r3fs_term_already() -> None:
    assert "no --r4f" in idle("r3f", r3f=True, r4f=True)
    assert "needs --r4f" in idle("r4f_scope", r3f=True)
    assert "--rlayer" in idle("r4f_scope", r4f=True, cross_encoder=True)
    assert not idle("r4f_scope", r4f=True, rlayer=True)


def test_one_pass_of_freelb_has_no_ascent() -> None:
    assert "--freelb_steps above 1" in idle("freelb_lr", freelb=True, freelb_steps=1)
    assert not idle("freelb_init", freelb=True, freelb_steps=1)


def test_a_limit_of_the_train_files_is_below_that_of_all() -> None:
    assert not idle("limit_train", limit_train=500)
    assert not idle("limit_train", limit_train=500, limit=501)
    assert "a --limit above it" in idle("limit_train", limit_train=500, limit=500)


def test_freelb_knows_no_lower_precision() -> None:
    assert "fp32" in idle("precision", freelb=True, precision="bf16")
    assert not idle("precision", freelb=True, precision="fp32")
    assert not idle("precision", smart=True, precision="bf16")


def test_terms_warm_up_only_where_there_are_some() -> None:
    assert "--smart, --r3f or --r4f" in idle("term_warmup", freelb=True)
    assert not idle("term_warmup", r3f=True)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_flags_need_their_term(name: str) -> None:
    assert "--no_adversarial" in idle(name, smart=True, no_adversarial=True)
    assert not idle(name, smart=True, no_bregman=True)


@pytest.mark.parametrize("name", BREGMAN)
def test_bregman_flags_need_their_term(name: str) -> None:
    assert "--no_bregman" in idle(name, smart=True, no_bregman=True)
    assert not idle(name, smart=True, no_adversarial=True)


def test_an_ascent_step_has_a_size_only_where_there_is_one() -> None:
    assert "--smart_steps above 0" in idle("smart_eta", smart=True, smart_steps=0)
    assert not idle("smart_sigma", smart=True, smart_steps=0)


def test_smart_dropout_acts_on_either_term() -> None:
    assert not idle("smart_dropout", smart=True, no_adversarial=True)
    assert not idle("smart_dropout", smart=True, no_bregman=True)


def test_frozen_dropout_needs_a_frozen_encoder() -> None:
    assert "--option pretrain" in idle("frozen_dropout", option="finetune", frozen_dropout=True)
    assert not idle("frozen_dropout", frozen_dropout=True)


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_power_needs_a_polynomial(schedule: str) -> None:
    assert "--schedule polynomial" in idle("power", schedule=schedule)
    assert not idle("power", schedule="polynomial")


@pytest.mark.parametrize("name", ["rlayer", "cross_encoder"])
def test_pair_flags_need_a_pair_task(name: str) -> None:
    setting = {name: True}
    assert "para or sts" in idle(name, **setting)
    assert "para or sts" in idle(name, tasks=("cfimdb", "sst"), rrobin="equal", **setting)
    assert not idle(name, tasks=("para",), **setting)
    assert not idle(name, tasks=("sst", "sts"), rrobin="equal", **setting)


@pytest.mark.parametrize("task", ALL_TASKS)
def test_a_train_file_needs_its_task(task: str) -> None:
    other = "sts" if task != "sts" else "sst"
    assert f"needs {task}" in idle(f"{task}_train", tasks=(other,))
    assert not idle(f"{task}_train", tasks=(task,))


@pytest.mark.parametrize("kind", ["dev", "test", "dev_out", "test_out"])
def test_files_need_a_task_that_is_scored(kind: str) -> None:
    assert "needs cfimdb" in idle(f"cfimdb_{kind}")
    assert not idle(f"cfimdb_{kind}", tasks=("cfimdb",))
    for task in COURSE_TASKS:  # scored whatever trains, but beside a single task
        assert not idle(f"{task}_{kind}", tasks=("cfimdb", "sst"), rrobin="equal")
        assert f"needs {task}" in idle(f"{task}_{kind}", tasks=("cfimdb",))


@pytest.mark.parametrize("kind", [None, *SCHEDULES])
def test_settings_of_a_schedule_need_it(kind: str | None) -> None:
    acts = {
        "pre_task": kind == "pre",
        "pre_epochs": kind == "pre",
        "temperature": kind == "temperature",
        "epoch_batches": kind in BY_SIZE,
        "steps_per_task": kind is not None,
    }
    for name, acting in acts.items():
        assert bool(idle(name, rrobin=kind)) != acting


def test_frozen_texts_are_not_scored_in_int8() -> None:
    assert "needs --option finetune" in idle("int8", option="pretrain")


@pytest.mark.parametrize("name", FIELDS)
def test_every_flag_acts_somewhere(name: str) -> None:
    """No flag is idle in all combinations, or it should not exist."""
    terms = {"freelb": True} if name.startswith("freelb") else {"smart": True, "r3f": True}
    terms |= {"r4f": True, "rlayer": True} if name.startswith("r4f") else {}
    option = "finetune" if name in ("smart_reuse_clean", "int8") else "pretrain"
    widest = {**EVERYTHING, **terms, "schedule": "polynomial", "option": option}
    kinds = {"pre_task": "pre", "pre_epochs": "pre", "temperature": "temperature"}
    widest["rrobin"] = {**kinds, "epoch_batches": "sqrt"}.get(name, "equal")
    assert not idle(name, **widest)


def test_the_first_idle_flag_is_named_among_others() -> None:
    with pytest.raises(InputError, match="--power would do nothing"):
        refuse_idle(config(lr=1.0), {"lr", "seed", "power"}, idle_rules())


def test_file_flags_are_grouped_by_what_they_are() -> None:
    for task in ALL_TASKS:
        for split in ("train", "dev", "test"):
            assert FIELDS[f"{task}_{split}"].metadata["group"] == DATA
        for split in ("dev", "test"):
            assert FIELDS[f"{task}_{split}_out"].metadata["group"] == OUTPUT


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


# ----------------------------------------------------------------------------------- --compat


@pytest.mark.parametrize(
    ("compat", "terms"),
    [("mtdnn", {"smart"}), ("smart-pytorch", {"smart"}), ("fairseq", {"r3f", "r4f"})],
)
def test_a_variant_needs_the_term_that_it_is_one_of(compat: str, terms: set[str]) -> None:
    for term in ("smart", "r3f", "r4f"):
        refusal = idle("compat", compat=compat, **{term: True})
        assert bool(refusal) == (term not in terms)
    assert "mtdnn, smart-pytorch" in idle("compat", compat=compat)


@pytest.mark.parametrize("term", ["smart", "r3f", "r4f"])
def test_the_papers_formulas_can_be_asked_for_by_name(term: str) -> None:
    assert not idle("compat", **{term: True})
    assert idle("compat", freelb=True)


@pytest.mark.parametrize("compat", SMART_VARIANTS)
def test_variants_of_smart_have_neither_ball_nor_proximal_term(compat: str) -> None:
    for name in ("smart_epsilon", "no_bregman", *BREGMAN):
        assert "--compat paper" in idle(name, smart=True, compat=compat)
    for name in ("smart_lambda", "smart_sigma", "smart_eta", "smart_steps", "smart_dropout"):
        assert not idle(name, smart=True, compat=compat)
    with pytest.raises(InputError, match=f"--no_adversarial --compat {compat}"):
        config(smart=True, compat=compat, no_adversarial=True)


REUSE = {"smart": True, "option": "finetune", "tasks": ("sts",)}


@pytest.mark.parametrize(
    ("change", "needs"),
    [
        ({"smart": False}, "--smart"),
        ({"no_adversarial": True}, "--no_adversarial"),
        ({"smart_steps": 0}, "--smart_steps above 0"),
        ({"tasks": ("sst",)}, "para or sts"),
        ({"option": "pretrain"}, "--option finetune"),
        ({"smart_dropout": "independent"}, "--smart_dropout off or shared"),
        ({"compat": "mtdnn"}, "--compat paper"),
    ],
)
def test_the_clean_passs_slope_needs_one_output_and_its_masks(
    change: dict[str, Any], needs: str
) -> None:
    assert not idle("smart_reuse_clean", **REUSE)
    assert needs in idle("smart_reuse_clean", **{**REUSE, **change})


def test_the_variant_of_r3f_leaves_smart_as_it_is() -> None:
    for name in ("smart_epsilon", "no_bregman", *BREGMAN):
        assert not idle(name, smart=True, r3f=True, compat="fairseq")

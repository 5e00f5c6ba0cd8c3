"""Flags that would do nothing are refused, each with what it needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest

from minbert.finetune.config import RunConfig
from minbert.finetune.flags import DATA, OUTPUT
from minbert.regularizers.freelb import GROUP as FREELB
from minbert.regularizers.smart.method import CHOICES as SMART_VARIANTS
from minbert.regularizers.smart.method import GROUP as SMART
from minbert.support.errors import InputError
from minbert.support.flags import refuse_idle
from minbert.tasks.mixing import MIXINGS
from minbert.tasks.registry import COURSE_TASKS, TASKS
from minbert.tasks.task import Task
from tests.finetune.run_settings import ALL_TASKS, BY_SIZE, FIELDS

EVERYTHING = {"tasks": ALL_TASKS, "rrobin": "equal"}
ADVERSARIAL = ("smart_lambda", "smart_epsilon", "smart_sigma", "smart_eta", "smart_steps")
BREGMAN = ("bregman_mu", "bregman_beta")
OF_ITS_OWN = ("smart", "smart_reuse_clean")  # needs more than --smart: tested below
SMART_FLAGS = [n for n, e in FIELDS.items() if e.metadata["group"] == SMART and n not in OF_ITS_OWN]

R3F_FLAGS = [n for n in FIELDS if n.startswith("r3f_")]


def idle(name: str, **settings: Any) -> str:
    """The refusal of a typed flag in this combination, empty where the flag acts."""
    try:
        refuse_idle(RunConfig(**settings), {name})
    except InputError as error:
        assert str(error).startswith(f"--{name} would do nothing here: it needs ")
        return str(error)
    return ""


def test_nothing_typed_is_never_idle() -> None:
    refuse_idle(RunConfig(), ())
    refuse_idle(RunConfig(smart=True, no_bregman=True, schedule="linear"), ())


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


@pytest.mark.parametrize("name", ["rlayer_dropout", "rlayer_activation"])
def test_settings_of_the_relational_layer_need_it(name: str) -> None:
    assert "needs --rlayer" in idle(name, **EVERYTHING)
    assert not idle(name, rlayer=True, **EVERYTHING)


def test_rows_of_an_epoch_are_a_matter_of_several_tasks() -> None:
    assert "needs --rrobin" in idle("epoch_rows")
    assert "needs sts to train" in idle("sts_scale")
    assert not idle("sts_scale", tasks=("sts",), option="finetune")


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


@pytest.mark.parametrize("kind", [None, *MIXINGS])
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


def test_a_rate_for_heads_needs_one_that_learns() -> None:
    finetuned = {"option": "finetune", "rrobin": None, "tasks": ("sts",)}
    assert "needs --option finetune" in idle("head_lr", option="pretrain")
    assert "needs a head with weights" in idle("head_lr", **finetuned)
    for more in ({"rlayer": True}, {"cross_encoder": True}, {"tasks": ("sst",)}):
        assert not idle("head_lr", **{**finetuned, **more})


@pytest.mark.parametrize("name", FIELDS)
def test_every_flag_acts_somewhere(name: str, tmp_path: Path) -> None:
    """No flag is idle in all combinations, or it should not exist."""
    terms = {"freelb": True} if name.startswith("freelb") else {"smart": True, "r3f": True}
    terms |= {"r4f": True, "rlayer": True} if name.startswith("r4f") else {}
    terms |= {"rlayer": True} if name.startswith("rlayer_") else {}
    option = "finetune" if name in ("smart_reuse_clean", "int8", "head_lr") else "pretrain"
    widest = {**EVERYTHING, **terms, "schedule": "polynomial", "option": option}
    kinds = {"pre_task": "pre", "pre_epochs": "pre", "temperature": "temperature"}
    widest |= {"limit": 9} if name == "limit_rows" else {"limit_train": 5}
    widest |= {"dev_only": True} if name == "dev_rows" else {}
    if name.startswith(("glue", "xnli")):
        benchmarks = ("rte", "xnli-en")
        for folder in ("RTE", "MNLI"):
            (tmp_path / folder).mkdir()
        for file in ("RTE/train.tsv", "RTE/dev.tsv", "train-en.tsv", "dev-en.tsv"):
            (tmp_path / file).touch()
        places = {"glue_dir": str(tmp_path), "xnli_dir": str(tmp_path), "glue_zip": "a.zip"}
        widest |= {"tasks": (*ALL_TASKS, *benchmarks), **places}
    widest["rrobin"] = {**kinds, "epoch_batches": "sqrt"}.get(name, "equal")
    assert not idle(name, **widest)


def test_the_first_idle_flag_is_named_among_others() -> None:
    with pytest.raises(InputError, match="--power would do nothing"):
        refuse_idle(RunConfig(lr=1.0), {"lr", "seed", "power"})


def test_file_flags_are_grouped_by_what_they_are() -> None:
    for task in ALL_TASKS:
        for split in ("train", "dev", "test"):
            assert FIELDS[f"{task}_{split}"].metadata["group"] == DATA
        for split in ("dev", "test"):
            assert FIELDS[f"{task}_{split}_out"].metadata["group"] == OUTPUT


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


def test_freelb_asks_for_no_radius_that_it_does_not_use(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = dataclasses.replace(TASKS["sst"], freelb_radius=None)
    monkeypatch.setitem(cast("dict[str, Task]", TASKS), "sst", bare)
    assert RunConfig(freelb=True, freelb_steps=1).freelb
    with pytest.raises(InputError, match="give --freelb_radius sst=NUMBER,para=NUMBER,sts=NUMBER"):
        RunConfig(freelb=True, rrobin="equal")


@pytest.mark.parametrize("compat", SMART_VARIANTS)
def test_variants_of_smart_have_neither_ball_nor_proximal_term(compat: str) -> None:
    for name in ("smart_epsilon", "no_bregman", *BREGMAN):
        assert "--compat paper" in idle(name, smart=True, compat=compat)
    for name in ("smart_lambda", "smart_sigma", "smart_eta", "smart_steps", "smart_dropout"):
        assert not idle(name, smart=True, compat=compat)
    with pytest.raises(InputError, match=f"--no_adversarial --compat {compat}"):
        RunConfig(smart=True, compat=compat, no_adversarial=True)


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

"""The command line: the course's flags and defaults, presets, help."""

from __future__ import annotations

import dataclasses
import logging
import re

import pytest

from minbert.finetune import cli
from minbert.finetune.config import RunConfig
from minbert.support.errors import InputError
from minbert.tasks.mixing import MIXINGS

COURSE = {
    "sst_train": "data/ids-sst-train.csv",
    "sst_dev": "data/ids-sst-dev.csv",
    "sst_test": "data/ids-sst-test-student.csv",
    "para_train": "data/quora-train.csv",
    "para_dev": "data/quora-dev.csv",
    "para_test": "data/quora-test-student.csv",
    "sts_train": "data/sts-train.csv",
    "sts_dev": "data/sts-dev.csv",
    "sts_test": "data/sts-test-student.csv",
    "seed": 11711,
    "epochs": 10,
    "batch_size": 8,
    "hidden_dropout_prob": 0.3,
    "use_gpu": False,
    "option": "pretrain",
    "sst_dev_out": "predictions/sst-dev-output.csv",
    "sst_test_out": "predictions/sst-test-output.csv",
    "para_dev_out": "predictions/para-dev-output.csv",
    "para_test_out": "predictions/para-test-output.csv",
    "sts_dev_out": "predictions/sts-dev-output.csv",
    "sts_test_out": "predictions/sts-test-output.csv",
}


# --------------------------------------------------------------------------- flags and defaults


@pytest.mark.parametrize("name", COURSE)
def test_course_default(parse, name: str) -> None:
    assert getattr(parse().resolved(), name) == COURSE[name]


@pytest.mark.parametrize("name", [name for name in COURSE if name != "use_gpu"])
def test_course_flag_arrives(parse, name: str) -> None:
    value = {"option": "finetune", "seed": 3, "epochs": 2, "batch_size": 64}.get(name)
    value = value or {"hidden_dropout_prob": 0.5}.get(name, f"elsewhere/{name}.csv")
    assert getattr(parse("--rrobin", f"--{name}", str(value)), name) == value


def test_whole_course_command_line(parse) -> None:
    argv = ["--rrobin", "--use_gpu", "--lr", "1e-5", "--option", "finetune"]
    for name, value in COURSE.items():
        argv += [] if name in ("use_gpu", "option") else [f"--{name}", str(value)]
    config = parse(*argv).resolved()
    assert {name: getattr(config, name) for name in COURSE} == {
        **COURSE,
        "use_gpu": True,
        "option": "finetune",
    }


@pytest.mark.parametrize(("option", "lr"), [("pretrain", 1e-3), ("finetune", 1e-5)])
def test_learning_rate_follows_the_option_unless_given(parse, option: str, lr: float) -> None:
    assert parse("--option", option).resolved().lr == lr
    assert parse("--option", option, "--lr", "0.5").resolved().lr == 0.5


def test_smart_defaults_are_the_posters(parse) -> None:
    config = parse("--smart")
    names = ("smart_lambda", "smart_epsilon", "smart_sigma", "smart_eta", "smart_steps")
    assert [getattr(config, name) for name in names] == [5, 1e-5, 1e-5, 1e-3, 1]
    assert (config.bregman_mu, config.bregman_beta, config.smart_dropout) == (1, 0.995, "off")


@pytest.mark.parametrize(
    ("mode", "option"), [("last-linear-layer", "pretrain"), ("full-model", "finetune")]
)
def test_both_spellings_of_the_option(parse, mode: str, option: str) -> None:
    assert parse("--fine-tune-mode", mode).option == option
    assert parse("--fine-tune-mode", mode, "--option", option) == parse("--option", option)
    other = {"pretrain": "finetune", "finetune": "pretrain"}[option]
    with pytest.raises(InputError, match=f"--option {other} contradicts --fine-tune-mode {mode}"):
        parse("--option", other, "--fine-tune-mode", mode)


def test_rrobin_alone_means_equal(parse) -> None:
    assert parse("--rrobin") == parse("--rrobin", "equal")
    assert parse("--rrobin", "--seed", "1").rrobin == "equal"
    assert parse().rrobin is None


@pytest.mark.parametrize("kind", MIXINGS)
def test_every_schedule_has_a_name(parse, kind: str) -> None:
    assert parse("--rrobin", kind).rrobin == kind


def test_tasks_are_what_trains(parse) -> None:
    assert parse().trained_tasks == ("sst",)
    assert parse("--rrobin").trained_tasks == ("sst", "para", "sts")
    assert parse("--tasks", "sts").trained_tasks == ("sts",)
    both = parse("--rrobin", "--tasks", "sts,cfimdb")
    assert both.trained_tasks == ("sts", "cfimdb")
    assert both.evaluated_tasks == ("sst", "para", "sts", "cfimdb")
    assert parse("--tasks", "cfimdb").evaluated_tasks == ("cfimdb",)


def test_two_values_for_betas(parse) -> None:
    assert parse("--betas", "0.8", "0.98").betas == (0.8, 0.98)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--smart", "--compat", "mtdnn"], "--no_bregman --smart_dropout independent"),
        (["--smart", "--compat", "mtdnn", "--smart_eta", "1e-3"], "--smart_eta 0.001"),
        (["--r3f", "--compat", "fairseq"], "--compat fairseq: --r3f_noise uniform\n"),
        (["--r4f", "--compat", "fairseq"], "--r3f_noise uniform --r4f_scope last\n"),
        (["--stdpp"], "--stdpp: --warmup 0.1 --schedule linear, twice the epochs\n"),
        (["--recipe", "smart", "--clip", "2"], "--recipe smart: --warmup 0.1 --schedule linear\n"),
        (["--recipe", "smart", "--smart"], "--bregman_beta 0.99 --bregman_beta_late 0.999\n"),
    ],
)
def test_presets_say_what_they_set(
    parse, caplog: pytest.LogCaptureFixture, argv: list[str], words: str
) -> None:
    with caplog.at_level(logging.INFO, "minbert"):
        parse(*argv)
    assert words in caplog.text


TYPED = {e.name: e.default for e in dataclasses.fields(RunConfig) if e.default not in (None, False)}


@pytest.mark.parametrize("name", TYPED)
def test_default_typed_out_changes_nothing(parse, name: str) -> None:
    """What --help shows can be typed."""
    terms = ["--freelb"] if name.startswith("freelb") else ["--smart", "--r3f"]
    terms = ["--r4f", "--rlayer"] if name.startswith(("r4f", "rlayer_")) else terms
    kinds = {"pre_task": "pre", "pre_epochs": "pre", "temperature": "temperature"}
    companions = ["--rrobin", kinds.get(name, "equal"), "--tasks", "sst,para,sts,cfimdb", *terms]
    little = ["--limit_train", "5"]
    own = {"limit_rows": ["--limit", "9"], "limit_train_seed": little}
    companions += {**own, "dev_rows": [*little, "--dev_only"]}.get(name, [])
    companions += [] if name == "schedule" else ["--schedule", "polynomial"]
    values = TYPED[name] if isinstance(TYPED[name], tuple) else (TYPED[name],)
    assert parse(*companions, f"--{name}", *map(str, values)) == parse(*companions)


# ------------------------------------------------------------------------------------------ help


@pytest.fixture
def help_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "500")  # lines are broken inside file names otherwise
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


def flags_shown(help_text: str) -> dict[str, str]:
    """Each flag's entry in the help, on one line."""
    entries = re.split(r"\n  --", help_text)[1:]
    return {re.split(r"\W", entry)[0]: " ".join(entry.split()) for entry in entries}


def test_help_has_every_flag_in_a_group_with_default_choices_and_unit(help_text: str) -> None:
    shown = flags_shown(help_text)
    for entry in dataclasses.fields(RunConfig):
        assert f"\n{entry.metadata['group']}:\n" in help_text
        about = shown[entry.name]
        assert all(choice in about for choice in entry.metadata["choices"]), entry.name
        assert (entry.metadata["metavar"] or "") in about
        if entry.default not in (None, False):
            values = entry.default if isinstance(entry.default, tuple) else (entry.default,)
            assert f"(default: {' '.join(map(str, values))})" in about


def test_help_says_what_unset_flags_do(help_text: str) -> None:
    shown = flags_shown(help_text)
    for name in (
        "epochs",
        "batch_size",
        "lr",
        "tasks",
        "data_dir",
        "weights",
        "output_dir",
        "clip",
    ):
        assert "default" in shown[name]
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f]", help_text) is None


@pytest.mark.parametrize(
    ("flags", "size"),
    [([], "auto"), (["--micro_batch_size", "auto"], "auto"), (["--micro_batch_size", "4"], 4)],
)
def test_a_micro_batch_has_rows_or_is_left_to_the_run(
    parse, flags: list[str], size: object
) -> None:
    assert parse(*flags).micro_batch_size == size


def test_passes_may_be_a_tasks_own(parse) -> None:
    both = parse("--tasks", "sst,sts", "--rrobin", "--freelb", "--freelb_steps", "sst=2,sts=3")
    assert both.freelb_steps == {"sst": 2, "sts": 3}
    assert parse("--freelb", "--freelb_steps", "3").freelb_steps == 3
    for wrong in ("2.5", "sst=2.5", "sst="):
        with pytest.raises(InputError, match="whole number"):
            parse("--freelb", "--freelb_steps", wrong)

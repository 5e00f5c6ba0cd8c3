"""The command line: the course's flags and defaults, what is refused, and how it is said."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minbert import cli
from minbert.config import RunConfig
from minbert.encoder_config import EncoderConfig
from minbert.runtime import InputError, RunError, Stopped
from minbert.schedules import SCHEDULES
from tests.helpers import cache_encoder, save_encoder, write_course_files

ROOT = Path(__file__).resolve().parent.parent
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


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch):
    """Flags to a configuration, without looking for files."""
    monkeypatch.setattr(cli, "locate", lambda config, _given: config)
    return lambda *argv: cli.parse(argv)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: EncoderConfig) -> Path:
    """A current folder with a tiny encoder and the course's files in `data/`."""
    save_encoder(tmp_path / "encoder", tiny)
    write_course_files(tmp_path / "data", tasks=("sst", "para", "sts", "cfimdb"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


@pytest.mark.parametrize("kind", SCHEDULES)
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
    terms = ["--r4f", "--rlayer"] if name.startswith("r4f") else terms
    kinds = {"pre_task": "pre", "pre_epochs": "pre", "temperature": "temperature"}
    companions = ["--rrobin", kinds.get(name, "equal"), "--tasks", "sst,para,sts,cfimdb", *terms]
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


# ---------------------------------------------------------------------------------------- errors


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line on stderr that a wrong command line gets, with exit code 2."""
    assert cli.main(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("error: ")
    return printed.err


WRONG = [
    (["--bogus"], "--bogus"),
    (["stray"], "stray"),
    (["--opt", "finetune"], "--opt"),
    (["--batch", "4"], "--batch"),
    (["--smart_lam", "1", "--smart"], "--smart_lam"),
    (["--fine-tune", "full-model"], "--fine-tune"),
    (["--option", "both"], "both"),
    (["--option"], "--option"),
    (["--fine-tune-mode", "half"], "half"),
    (["--epochs", "0"], "--epochs 0"),
    (["--epochs", "two"], "two"),
    (["--batch_size", "-1"], "--batch_size -1"),
    (["--max_steps", "0"], "--max_steps 0"),
    (["--seed", "-1"], "--seed -1"),
    (["--limit", "0"], "--limit 0"),
    (["--limit_train", "0"], "--limit_train 0"),
    (["--lr", "0"], "--lr 0"),
    (["--lr", "nan"], "--lr nan"),
    (["--lr", "inf"], "--lr inf"),
    (["--hidden_dropout_prob", "1"], "--hidden_dropout_prob 1"),
    (["--hidden_dropout_prob", "-.1"], "--hidden_dropout_prob"),
    (["--betas", "0.9"], "--betas"),
    (["--betas", "0.9", "1"], "--betas"),
    (["--warmup", "1"], "--warmup 1"),
    (["--clip", "0"], "--clip 0"),
    (["--max_length", "2"], "--max_length 2"),
    (["--schedule", "cosine"], "cosine"),
    (["--device", "tpu"], "tpu"),
    (["--smart", "--smart_epsilon", "0"], "--smart_epsilon 0"),
    (["--smart", "--smart_steps", "-1"], "--smart_steps -1"),
    (["--smart", "--bregman_beta", "1"], "--bregman_beta 1"),
    (["--smart", "--smart_dropout", "some"], "some"),
    (["--r3f", "--r3f_noise", "pink"], "pink"),
    (["--smart", "--smart_lambda", "sst=5,sts=1"], "sts does not train"),
    (["--smart", "--smart_lambda", "sst=5,sst=1"], "'sst=5,sst=1' names a task twice"),
    (["--smart", "--smart_lambda", "sst="], "'sst=' is neither a number nor one a task"),
    (["--smart", "--smart_lambda", "much"], "'much' is neither a number nor one a task"),
    (["--smart", "--smart_lambda", "=5"], "'=5' is neither a number nor one a task"),
    (["--smart", "--smart_lambda", "sst=0"], "--smart_lambda sst=0"),
    (["--freelb", "--smart"], "--freelb --smart"),
    (["--freelb", "--freelb_steps", "0"], "--freelb_steps 0"),
    (["--r3f", "--r3f_sigma", "0"], "--r3f_sigma 0"),
    (["--smart", "--no_bregman", "--no_adversarial"], "--no_adversarial --no_bregman"),
    (["--smart", "--compat", "fairsec"], "fairsec"),
    (["--smart", "--compat", "mtdnn", "--no_adversarial"], "--no_adversarial --compat mtdnn"),
    (["--rrobin", "wild"], "--rrobin wild"),
    (["--rrobin", "--tasks", "sst"], "--rrobin"),
    (["--rrobin", "annealed", "--epochs", "1"], "--rrobin annealed --epochs 1"),
    (["--rrobin", "pre", "--tasks", "sst,sts"], "--pre_task para"),
    (["--rrobin", "sqrt", "--steps_per_task", "summed"], "--steps_per_task summed"),
    (["--rrobin", "temperature", "--temperature", ".5"], "--temperature 0.5"),
    (["--tasks", "sst,para"], "--tasks sst,para"),
    (["--tasks", "sst,sst", "--rrobin"], "--tasks sst,sst"),
    (["--tasks", "mnli"], "--tasks mnli"),
    (["--tasks", ""], "--tasks"),
    (["--use_gpu", "--device", "cpu"], "--use_gpu --device cpu"),
    (["--option", "finetune", "--fine-tune-mode", "last-linear-layer"], "--option finetune"),
    (["--sst_dev", "missing.csv"], "--sst_dev missing.csv"),
    (["--data_dir", "missing"], "--data_dir missing"),
]


@pytest.mark.parametrize(("argv", "named"), WRONG, ids=[" ".join(argv) for argv, _ in WRONG])
def test_wrong_usage_is_one_line_that_names_it(
    place: Path, capsys: pytest.CaptureFixture[str], argv: list[str], named: str
) -> None:
    assert named in refused(capsys, *argv)


SMART_FLAGS = [
    *("smart_lambda", "smart_epsilon", "smart_sigma", "smart_eta", "smart_steps"),
    *("bregman_mu", "bregman_beta"),
]
ALL_FILES = [f"--{t}_{s}=data/x" for t in ("sst", "para", "sts") for s in ("train", "dev", "test")]
IDLE = [
    *([f"--{name}", "1"] for name in SMART_FLAGS if name != "bregman_beta"),
    ["--bregman_beta", ".5"],
    ["--smart_dropout", "off"],
    ["--no_bregman"],
    ["--no_adversarial"],
    *([f"--{name}", "1", "--smart", "--no_adversarial"] for name in SMART_FLAGS[:5]),
    ["--freelb_steps", "2"],
    ["--r4f_scope", "last", "--r3f"],
    ["--r4f_scope", "last", "--r4f"],
    ["--r3f", "--r4f"],
    ["--freelb_lr", "1", "--freelb", "--freelb_steps", "1"],
    ["--term_warmup", ".1"],
    ["--r3f_lambda", "1"],
    ["--r3f_sigma", "1", "--smart"],
    ["--r3f_dropout", "off"],
    ["--limit_train", "9", "--limit", "5"],
    ["--compat", "paper"],
    ["--compat", "mtdnn", "--r3f"],
    ["--compat", "smart-pytorch", "--smart_steps", "2"],
    ["--compat", "fairseq", "--smart"],
    ["--smart_epsilon", "1", "--smart", "--compat", "smart-pytorch"],
    ["--bregman_mu", "1", "--smart", "--compat", "mtdnn"],
    ["--no_bregman", "--smart", "--compat", "mtdnn"],
    ["--bregman_mu", "1", "--smart", "--no_bregman"],
    ["--bregman_beta", ".5", "--smart", "--no_bregman"],
    ["--smart_eta", "1", "--smart", "--smart_steps", "0"],
    ["--frozen_dropout", "--option", "finetune"],
    ["--power", "2"],
    ["--power", "2", "--schedule", "linear"],
    ["--rlayer"],
    ["--cross_encoder"],
    ["--rlayer", "--tasks", "cfimdb"],
    ["--para_train", "data/quora-train.csv"],
    ["--sts_train", "data/sts-train.csv"],
    ["--sst_train", "data/ids-sst-train.csv", "--tasks", "sts"],
    ["--cfimdb_train", "data/ids-cfimdb-train.csv"],
    ["--cfimdb_dev", "data/ids-cfimdb-dev.csv", "--rrobin"],
    ["--cfimdb_test_out", "x.csv"],
    ["--sst_dev_out", "x.csv", "--tasks", "cfimdb"],
    ["--pre_epochs", "1", "--rrobin"],
    ["--pre_task", "sst", "--rrobin", "full"],
    ["--temperature", "2", "--rrobin", "sqrt"],
    ["--epoch_batches", "9", "--rrobin", "full"],
    ["--steps_per_task", "separate"],
    ["--data_dir", "data", "--rrobin", *ALL_FILES],
]


@pytest.mark.parametrize("argv", IDLE, ids=" ".join)
def test_flag_that_would_do_nothing_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    (place / "data" / "x").write_text("")
    line = refused(capsys, "--weights", "encoder", *argv)
    assert f"{argv[0]} would do nothing" in line


@pytest.mark.parametrize(
    "argv",
    [
        ["--smart_lambda", "1", "--smart", "--no_bregman"],
        ["--bregman_mu", "1", "--smart", "--no_adversarial"],
        ["--smart_sigma", "1", "--smart", "--smart_steps", "0"],
        ["--power", "3", "--schedule", "polynomial"],
        ["--rlayer", "--tasks", "para"],
        ["--cross_encoder", "--rrobin"],
        ["--frozen_dropout"],
        ["--sts_dev", "x.csv", "--para_test_out", "y.csv"],
        ["--cfimdb_dev", "x.csv", "--tasks", "cfimdb"],
        ["--pre_epochs", "2", "--pre_task", "sts", "--rrobin", "pre"],
        ["--epoch_batches", "9", "--rrobin", "temperature", "--temperature", "3"],
        ["--steps_per_task", "summed", "--rrobin", "full"],
    ],
    ids=" ".join,
)
def test_flag_that_acts_is_not_refused(parse, argv: list[str]) -> None:
    parse(*argv)


@pytest.mark.parametrize("device", [[], ["--device", "auto"]])
def test_use_gpu_without_one_is_wrong_usage(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    device: list[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert cli.main(["--use_gpu", "--weights", "encoder", *device]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[-1].startswith("error: --use_gpu: ")
    assert list(place.glob("runs/*")) + list(place.glob("predictions/*")) == []


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31mred"], ids=["newline", "colour"])
@pytest.mark.parametrize("flag", ["--tasks", "--sst_dev", "--option", "--bogus"])
def test_a_complaint_quotes_no_control_characters(
    place: Path, capsys: pytest.CaptureFixture[str], flag: str, text: str
) -> None:
    line = refused(capsys, flag, text)
    assert re.search(r"[\x00-\x1f\x7f]", line.rstrip("\n")) is None


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("wrong"), 2, "error: wrong"),
        (RunError("broke"), 1, "error: broke"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (torch.OutOfMemoryError("CUDA out of memory.\nmore"), 1, "lower --batch_size"),
        (Stopped(signal.SIGINT), 130, "SIGINT"),
        (Stopped(signal.SIGTERM), 143, "--resume"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exit_codes(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    words: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "run", fail)
    assert cli.main(["--weights", "encoder"]) == code
    line = capsys.readouterr().err.splitlines()[-1]
    assert words in line


# --------------------------------------------------------------------------------- what is printed


def test_results_on_stdout_and_plain_lines_on_stderr(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--weights", "encoder", "--rrobin", "--smart", "--option", "finetune"]
    assert cli.main([*argv, "--epochs", "1", "--output_dir", "out"]) == 0
    printed = capsys.readouterr()
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f]", printed.err + printed.out) is None
    lines = printed.out.splitlines()
    assert lines[0] == "dev scores of the best epoch (1 of 1)"
    assert [line.split()[0] for line in lines[1:4]] == ["sst", "para", "sts"]
    assert all("padded tokens per real one" in line for line in lines[1:4])
    assert [line.strip() for line in lines[-6:]] == [
        f"predictions/{task}-{split}-output.csv"
        for task in ("sst", "para", "sts")
        for split in ("dev", "test")
    ]
    first = printed.err.splitlines()[:3]
    assert [line.split(":")[0] for line in first[:2]] == ["data", "weights"]
    assert first[2].startswith("finetune on sst, para, sts in turn (equal)")


def test_settings_in_force_are_said_first(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--weights", "encoder", "--epochs", "1", "--output_dir", "out"]) == 0
    said = capsys.readouterr().err
    for words in ("data/ (the course's files)", "encoder/ (as --weights says)", "rate 0.001"):
        assert words in said
    for words in ("1 epochs", "batch size 8", "seed 11711", "run folder out", "pretrain on sst"):
        assert words in said


def test_entry_point_exits_with_the_code(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "multitask_classifier.py"), "--bogus"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


# ------------------------------------------------------------------------------------- no network

# os._exit: an exception could be caught on its way, by a library that then does without
_WATCHED = """
import os, sys
def hook(event, args):
    if event.startswith("socket."):
        os.write(2, f"{event} {args}".encode())
        os._exit(99)
sys.addaudithook(hook)
from minbert.cli import main
code = main(sys.argv[2:])
if sys.argv[1] == "then connect":
    import socket
    socket.create_connection(("127.0.0.1", 9))
sys.exit(code)
"""


def watched(place: Path, *argv: str, then: str = "") -> subprocess.CompletedProcess[str]:
    """The real job in a process that dies when anything asks for a socket."""
    kept = {name: it for name, it in os.environ.items() if not name.startswith("HF_")}
    more = {"HF_HOME": str(place / "home"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _WATCHED, then, *argv]
    return subprocess.run(
        command, cwd=place, env={**kept, **more}, capture_output=True, text=True, check=False
    )


def test_the_job_opens_no_socket(place: Path, tiny: EncoderConfig) -> None:
    name, commit = "x/y", "0123456789abcdef0123456789abcdef01234567"
    cache_encoder(place / "home" / "hub", name, commit, tiny)
    argv = ["--weights", name, "--option", "finetune", "--rrobin", "--smart", "--max_steps", "2"]
    done = watched(place, *argv, "--output_dir", "out")
    assert done.returncode == 0, done.stderr
    assert f"({name} at revision {commit}, from the local cache)" in done.stderr
    manifest = json.loads((place / "out" / "manifest.json").read_text())
    assert manifest["published"] == {"name": name, "revision": commit}


def test_nor_where_the_name_is_unknown_and_the_watch_is_awake(place: Path) -> None:
    done = watched(place, "--weights", "no/body", then="then connect")
    assert "download --weights no/body" in done.stderr
    assert done.returncode == 99  # the socket that was asked for after the job had ended
    assert done.stderr.count("socket.") == 1

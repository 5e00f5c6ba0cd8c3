"""What the command line refuses, and how every error is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from minbert.finetune import cli


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
    (["--micro_batch_size", "0"], "--micro_batch_size 0: must be auto, or 1 or more"),
    (["--micro_batch_size", "half"], "--micro_batch_size half: must be auto"),
    (["--micro_batch_size"], "--micro_batch_size"),
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
    (["--threads", "0"], "--threads 0: must be 1 to 1024"),
    (["--threads", "1000000"], "--threads 1000000: must be 1 to 1024"),
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
    (["--r3f", "--r3f_sigma", "-1"], "--r3f_sigma -1"),
    (
        ["--r3f", "--r3f_sigma", "0", "--r3f_dropout", "shared"],
        "--r3f_sigma 0 --r3f_dropout shared",
    ),
    (["--r4f", "--r3f_sigma", "0", "--r3f_dropout", "off"], "--r3f_sigma 0 --r3f_dropout off"),
    (["--limit_train", "5", "--dev_only", "--dev_rows", "half"], "--dev_rows"),
    (["--keep", "first"], "--keep"),
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
    ["--limit_rows", "first"],
    ["--limit_train_seed", "1"],
    ["--dev_rows", "rest", "--limit_train", "5"],
    ["--dev_rows", "rest", "--dev_only"],
    ["--sst_dev_out", "x.csv", "--dev_only"],
    ["--predictions_dir", "x", "--dev_only"],
    ["--sst_test", "data/ids-sst-test-student.csv", "--dev_only"],
    ["--sst_dev", "data/x", "--dev_only", "--limit_train", "5", "--dev_rows", "rest"],
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

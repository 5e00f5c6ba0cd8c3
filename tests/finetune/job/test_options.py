"""The main job's options, from end to end."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minbert.encoder.bert import BertModel
from minbert.finetune import cli
from tests.finetune.job.running import (
    SIX,
    complaint,
    ids_of,
    ids_predicted,
    manifest,
    run,
    steps_logged,
    written,
)


def best_model(folder: Path = Path("out")) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("best-*/model.safetensors")
    return load_file(file)


def encoder_moved(place: Path) -> bool:
    before = BertModel.from_pretrained(place / "encoder").state_dict()
    after = best_model()
    return any(not torch.equal(after[f"encoder.{name}"], old) for name, old in before.items())


def test_pretrain_keeps_the_encoder_and_encodes_each_text_once(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    encode = BertModel.encode
    monkeypatch.setattr(BertModel, "encode", lambda *a, **k: passes.append(0) or encode(*a, **k))
    found = []
    for epochs in ("1", "6"):
        passes.clear()
        assert run("--rrobin", "--epochs", epochs) == 0
        found.append(len(passes))
        assert not encoder_moved(place)
    assert found[0] == found[1]


def test_frozen_dropout_encodes_at_each_step_and_still_keeps_the_encoder(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--frozen_dropout") == 0
    assert not encoder_moved(place)
    assert "encoded anew at each step" in capsys.readouterr().err
    assert all(line["tokens"] > 0 for line in steps_logged())
    with_dropout = [line["loss"] for line in steps_logged()]
    assert run() == 0
    assert all(line["tokens"] == 0 for line in steps_logged())
    assert with_dropout != [line["loss"] for line in steps_logged()]


def test_pretrain_with_smart_says_that_nothing_is_kept(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--smart", "--smart_dropout", "shared", "--rrobin") == 0
    assert "perturbed inputs: train texts are encoded anew" in capsys.readouterr().err
    assert not encoder_moved(place)
    lines = steps_logged()
    assert all(line["tokens"] > 0 for line in lines)
    assert lines[0]["bregman"] == pytest.approx(0, abs=1e-9)
    assert run("--smart", "--no_adversarial") == 0
    assert "perturbed inputs" not in capsys.readouterr().err
    assert all(line["tokens"] == 0 for line in steps_logged())


def test_finetune_moves_the_encoder(place: Path) -> None:
    assert run("--option", "finetune") == 0
    assert encoder_moved(place)


@pytest.mark.parametrize("option", ["pretrain", "finetune"])
@pytest.mark.parametrize("task", ["sst", "cfimdb"])
def test_single_task_job_is_the_courses(
    place: Path, capsys: pytest.CaptureFixture[str], option: str, task: str
) -> None:
    """It needs no other task's files, and writes over no other run's predictions."""
    for path in (place / "data").iterdir():
        if not path.name.startswith(f"ids-{task}"):
            path.unlink()
    assert run("--tasks", task, "--option", option) == 0
    files = written()
    names = {split: f"{option}-{task}-{split}-out.csv" for split in ("dev", "test")}
    assert set(files) == set(names.values())
    for split, source in (("dev", "dev"), ("test", "test-student")):
        content = files[names[split]]
        assert content.startswith(b"id \t Predicted_Sentiment \n")
        assert ids_predicted(content) == ids_of(place / "data" / f"ids-{task}-{source}.csv")
    assert set(manifest()["dev"]) == {task}
    assert manifest()["config"][f"{task}_dev_out"] == f"predictions/{names['dev']}"
    assert {line["task"] for line in steps_logged()} == {task}
    assert encoder_moved(place) == (option == "finetune")
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()[1:]] == [
        task,
        *(["padded"] if option == "finetune" else []),
        "predictions",
        *(f"predictions/{name}" for name in names.values()),
    ]
    assert f"{option} on {task}; scored on {task}\n" in printed.err


def test_single_pair_task(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--tasks", "sts", "--option", "finetune") == 0
    assert {line["task"] for line in steps_logged()} == {"sts"}
    assert re.search(r"real one: sts 1\.\d+\n", capsys.readouterr().out)
    scores = manifest()["epochs"]
    assert scores[0]["criterion"] == pytest.approx((scores[0]["scores"]["sts"] + 1) / 2)


def test_pretrain_of_a_head_without_weights_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--tasks", "sts") == 2
    assert "error: --option pretrain --tasks sts: nothing to train" in complaint(capsys)
    assert not list(place.glob("predictions/*"))
    for remedy in ("--rlayer", "--cross_encoder"):
        assert run("--tasks", "sts", remedy) == 0


def test_rrobin_of_pretrain_leaves_the_weightless_head_out(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--rrobin") == 0
    printed = capsys.readouterr()
    assert "sts: its head has no weights" in printed.err
    assert re.search(r"sts .*\(not trained\)\n", printed.out)
    assert {line["task"] for line in steps_logged()} == {"sst", "para"}


@pytest.mark.parametrize(
    "options",
    [
        ["--cross_encoder"],
        ["--rlayer"],
        ["--cross_encoder", "--rlayer", "--smart"],
        ["--pooling", "mean", "--smart"],
        ["--int8", "--rlayer"],
        ["--rlayer", "--smart", "--smart_dropout", "independent", "--smart_steps", "2"],
        ["--smart", "--no_bregman", "--smart_dropout", "shared"],
        ["--smart", "--smart_reuse_clean", "--precision", "bf16"],
        ["--smart", "--no_adversarial", "--bregman_beta", "0.9"],
        ["--readable", "--precision", "bf16", "--smart"],
        ["--freelb", "--freelb_steps", "3", "--freelb_radius", "sst=.1,para=.1,sts=.1"],
        ["--r4f", "--rlayer", "--smart", "--option", "finetune"],
        ["--r4f", "--r4f_scope", "last", "--cross_encoder", "--rlayer"],
        ["--stdpp", "--r3f", "--term_warmup", "0.5"],
        ["--compat", "mtdnn", "--smart", "--cross_encoder"],
        ["--compat", "smart-pytorch", "--smart", "--rlayer", "--smart_dropout", "off"],
        ["--compat", "fairseq", "--r4f", "--rlayer"],
        ["--smart", "--smart_lambda", "sst=2", "--bregman_mu", "sst=.5"],
        ["--r3f", "--r3f_noise", "uniform", "--r3f_lambda", "0.5", "--r3f_sigma", "1e-3"],
        ["--r3f", "--r3f_dropout", "shared", "--cross_encoder", "--rlayer"],
        ["--r3f", "--r3f_dropout", "off", "--smart", "--precision", "bf16"],
        ["--schedule", "polynomial", "--power", "3", "--warmup", "0.1", "--clip", "1"],
        ["--weight_decay", "0.01", "--betas", "0.8", "0.9", "--schedule", "linear"],
        ["--max_steps", "4", "--max_length", "8", "--batch_size", "5"],
    ],
    ids=" ".join,
)
def test_options_run(place: Path, options: list[str]) -> None:
    assert run("--rrobin", "--option", "finetune", "--epochs", "1", *options) == 0
    assert sorted(written()) == sorted(SIX)
    assert manifest()["status"] == "finished"


@pytest.mark.parametrize(
    ("options", "terms"),
    [
        (["--smart"], {"adversarial", "bregman"}),
        (["--smart", "--no_bregman"], {"adversarial"}),
        (["--smart", "--no_adversarial"], {"bregman"}),
        ([], set()),
    ],
)
def test_a_term_that_is_off_is_absent(place: Path, options: list[str], terms: set[str]) -> None:
    assert run("--option", "finetune", "--epochs", "1", *options) == 0
    for line in steps_logged():
        assert {"adversarial", "bregman"} & line.keys() == terms


def test_the_encoders_recommendation_is_taken_said_and_recorded(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    advice = {"pretrain": {"lr": 0.02, "epochs": 1, "batch_size": 4}}
    (place / "encoder" / "recommended.json").write_text(json.dumps(advice))
    assert cli.main(["--weights", "encoder", "--output_dir", "out", "--lr", "0.5"]) == 0
    shown = capsys.readouterr().err
    assert "epochs, batch_size: as recommended.json in the encoder's folder says" in shown
    assert "learning rate 0.5; 1 epochs, batch size 4" in shown
    config = manifest()["config"]
    assert (config["lr"], config["epochs"], config["batch_size"]) == (0.5, 1, 4)
    advice = {"finetune": {"lr": 0.02, "head_lr": 0.04, "epochs": 1}}
    (place / "encoder" / "recommended.json").write_text(json.dumps(advice))
    tuned = ["--option", "finetune", "--weights", "encoder", "--output_dir", "tuned"]
    assert cli.main(tuned) == 0
    assert "learning rate 0.02, 0.04 for the heads; 1 epochs" in capsys.readouterr().err


def test_the_log_tells_what_r3f_measures(place: Path) -> None:
    assert run("--option", "finetune", "--r3f") == 0
    first, *others = steps_logged()
    assert first["r3f_of_dropout"] > 1e3 * first["r3f_of_noise"] > 0
    assert all(line["r3f"] > 0 for line in (first, *others))
    assert not any("r3f_of_noise" in line for line in others[:40])


@pytest.mark.parametrize(
    ("methods", "steps"), [([], 50), (["--smart"], 20)], ids=["plain", "--smart"]
)
def test_the_fast_paths_loss_curve_is_the_readable_ones(
    place: Path, methods: list[str], steps: int
) -> None:
    """With dropout; both draw the same masks. They are not the same to the bit."""
    plan = ["--option", "finetune", "--rrobin", "--max_steps", str(steps), "--epochs", "20"]
    curves = []
    for path in ([], ["--readable"]):
        assert run(*plan, *methods, *path, "--precision", "fp32", "--lr", "1e-3") == 0
        curves.append([line["loss"] for line in steps_logged()])
    fast, readable = curves
    assert len(fast) == steps and fast[0] != fast[-1]
    assert fast == pytest.approx(readable, abs=1e-4)
    assert fast != readable

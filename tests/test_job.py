"""The main job from end to end, on tiny random encoders: what it writes, refuses and survives."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minbert import cli, files, job, predictions, train
from minbert.bert import BertModel
from minbert.encoder_config import EncoderConfig
from minbert.objective import Objective
from minbert.run_folder import held
from minbert.schedules import SCHEDULES
from minbert.sources import SAMPLE
from tests.helpers import save_encoder, write_course_files

COURSE_TASKS = ("sst", "para", "sts")
SIX = tuple(f"{task}-{split}-output.csv" for task in COURSE_TASKS for split in ("dev", "test"))
MAIN = ("--option", "finetune", "--rrobin", "--smart")
SHORT = ("--weights", "encoder", "--output_dir", "out", "--epochs", "2", "--lr", "1e-3")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: EncoderConfig) -> Path:
    """A current folder with a tiny encoder and the course's files in `data/`."""
    save_encoder(tmp_path / "encoder", tiny)
    write_course_files(tmp_path / "data", tasks=(*COURSE_TASKS, "cfimdb"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*argv: str) -> int:
    return cli.main([*SHORT, *argv])


def written(folder: Path = Path("predictions")) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def manifest(folder: Path = Path("out")) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def steps_logged(folder: Path = Path("out")) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The last line on stderr, where an error stands, after nothing on stdout."""
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()[-1]


def ids_of(path: Path) -> list[str]:
    return [line.split("\t")[1] for line in path.read_text().splitlines()[1:]]


def ids_predicted(content: bytes) -> list[str]:
    return [line.split(" , ")[0] for line in content.decode().splitlines()[1:]]


# ---------------------------------------------------------------------------------- what it writes


def test_main_job_writes_the_six_files_of_the_course(place: Path) -> None:
    assert run(*MAIN) == 0
    files = written()
    assert sorted(files) == sorted(SIX)
    stems = {"sst": "ids-sst", "para": "quora", "sts": "sts"}
    headers = {
        "sst": b"id \t Predicted_Sentiment \n",
        "para": b"id \t Predicted_Is_Paraphrase \n",
        "sts": b"id \t Predicted_Similiary \n",
    }
    for task in COURSE_TASKS:
        for split, source in (("dev", "dev"), ("test", "test-student")):
            content = files[f"{task}-{split}-output.csv"]
            assert content.startswith(headers[task])
            assert re.fullmatch(rb"([^\n]* \n)+", content)
            assert ids_predicted(content) == ids_of(place / "data" / f"{stems[task]}-{source}.csv")


def test_every_id_is_due_even_of_a_row_that_cannot_be_scored(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dev = place / "data" / "quora-dev.csv"
    rows = dev.read_text().splitlines()
    rows[2:2] = ["90\tnolabel\ta good film\ta bad film\t", "91\tnotext\t\ta bad film\t1.0"]
    dev.write_text("\n".join(rows) + "\n")
    assert run("--option", "pretrain") == 0
    assert ids_predicted(written()["para-dev-output.csv"]) == ids_of(dev)
    reported = (Path("out") / "bad_rows.jsonl").read_text()
    assert "nolabel" in reported and "notext" in reported
    assert "quora-dev.csv: 2 of 18 rows reported" in capsys.readouterr().err


def test_manifest_tells_the_whole_run(place: Path) -> None:
    assert run(*MAIN, "--seed", "3") == 0
    told = manifest()
    assert told["status"] == "finished"
    assert (told["config"]["seed"], told["config"]["lr"], told["config"]["smart"]) == (
        3,
        1e-3,
        True,
    )
    assert told["config"]["batch_size"] == 8
    hashes = told["sha256"]
    assert {f"{t}_{s}" for t in COURSE_TASKS for s in ("train", "dev", "test")} < set(hashes)
    assert {"weights", "vocab.txt", "config.json"} < set(hashes)
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in hashes.values())
    assert told["versions"]["torch"] == torch.__version__
    assert told["threads"] == torch.get_num_threads()
    assert isinstance(told["device"], str)
    assert told["git"] is None or re.fullmatch("[0-9a-f]{40}", told["git"]["commit"])
    assert set(told["dev"]) == set(COURSE_TASKS)
    assert [epoch["epoch"] for epoch in told["epochs"]] == [1, 2]
    for epoch in told["epochs"]:
        assert epoch["train_seconds"] > 0
        assert set(epoch["scores"]) == set(COURSE_TASKS)
    best = max(told["epochs"], key=lambda epoch: epoch["criterion"])
    assert told["best_epoch"] == best["epoch"]
    assert told["dev"] == best["scores"]


def test_log_has_one_line_a_step_with_each_term_apart(place: Path) -> None:
    assert run(*MAIN) == 0
    lines = steps_logged()
    assert [line["step"] for line in lines] == list(range(12))
    assert [line["task"] for line in lines] == list(COURSE_TASKS) * 4
    for line in lines:
        total = line["task_loss"] + 5 * line["adversarial"] + line["bregman"]
        assert line["loss"] == pytest.approx(total, rel=1e-4)
        assert line["lr"] == 1e-3
        assert line["grad_norm"] > 0 and line["tokens_per_s"] > 0
    assert lines[0]["bregman"] < 1e-8 < lines[-3]["bregman"]


def test_no_socket_is_opened(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the job opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert run(*MAIN) == 0


def test_bundled_sample_is_taken_where_the_course_files_are_absent(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (place / "data").iterdir():
        path.unlink()
    assert run("--rrobin", "--limit", "20") == 0
    assert f"data: {SAMPLE}/ (the bundled synthetic sample" in capsys.readouterr().err
    assert ids_predicted(written()["sst-dev-output.csv"]) == ids_of(SAMPLE / "ids-sst-dev.csv")[:20]


def test_default_run_folder_is_named_after_the_configuration(place: Path) -> None:
    for seed in ("1", "2"):
        assert cli.main(["--weights", "encoder", "--epochs", "1", "--seed", seed]) == 0
    names = sorted(path.name for path in Path("runs").iterdir())
    assert [name.rsplit("-", 1)[0] for name in names] == [
        "pretrain-sst-seed1",
        "pretrain-sst-seed2",
    ]


def test_out_flags_are_relative_to_the_current_folder(place: Path) -> None:
    assert run("--sst_dev_out", "elsewhere/a.csv") == 0
    assert (place / "elsewhere" / "a.csv").read_bytes().startswith(b"id \t Predicted_Sentiment")
    assert len(written()) == 5


def test_out_file_may_have_any_name(place: Path) -> None:
    assert run("--sst_dev_out", "run{1}.csv") == 0
    assert (place / "run{1}.csv").is_file()


def test_equal_runs_write_equal_bytes_and_another_seed_does_not(place: Path) -> None:
    found = []
    for seed in ("1", "1", "2"):
        assert run(*MAIN, "--seed", seed) == 0
        found.append(written())
    assert found[0] == found[1] != found[2]


# ------------------------------------------------------------------------------------- its options


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
    monkeypatch.setattr(BertModel, "encode", lambda *a: passes.append(0) or encode(*a))
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
        "predictions",
        *(f"predictions/{name}" for name in names.values()),
    ]
    assert f"{option} on {task}; scored on {task}\n" in printed.err


def test_single_pair_task(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--tasks", "sts", "--option", "finetune") == 0
    assert {line["task"] for line in steps_logged()} == {"sts"}
    assert re.search(r"sts .*real token\n", capsys.readouterr().out)
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
        ["--rlayer", "--smart", "--smart_dropout", "independent", "--smart_steps", "2"],
        ["--smart", "--no_bregman", "--smart_dropout", "shared"],
        ["--smart", "--smart_reuse_clean", "--precision", "bf16"],
        ["--smart", "--no_adversarial", "--bregman_beta", "0.9"],
        ["--attention", "reference", "--precision", "bf16", "--smart"],
        ["--freelb", "--freelb_steps", "3", "--freelb_radius", "sst=.1,para=.1,sts=.1"],
        ["--r4f", "--rlayer", "--smart", "--option", "finetune"],
        ["--r4f", "--r4f_scope", "last", "--cross_encoder"],
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


# --------------------------------------------------------------------------- what it never destroys


def test_limit_never_replaces_a_larger_file(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    whole = written()
    capsys.readouterr()
    assert run("--limit", "10") == 2
    line = complaint(capsys)
    assert "sst-dev-output.csv holds 16 predictions" in line and "--limit 10" in line
    assert written() == whole
    elsewhere = [
        f"--{t}_{s}_out=limited/{t}-{s}.csv" for t in COURSE_TASKS for s in ("dev", "test")
    ]
    assert run("--limit", "10", *elsewhere) == 0
    assert written() == whole


def test_failing_run_leaves_the_old_predictions(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    before = written()
    capsys.readouterr()
    assert run("--option", "finetune", "--lr", "1e38") == 1
    line = complaint(capsys)
    assert line.startswith("error: step ") and "Example ids: sst" in line
    assert written() == before
    assert manifest()["status"].startswith("failed: step ")


def test_a_write_that_fails_halfway_leaves_each_file_whole(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    before = written()
    render, calls = predictions.render, []

    def full_disk(*arguments) -> str:
        calls.append(0)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return render(*arguments)

    monkeypatch.setattr(predictions, "render", full_disk)
    capsys.readouterr()
    assert run("--option", "finetune") == 1
    assert "No space left" in complaint(capsys)
    after = written()
    assert after.keys() == before.keys()
    assert sum(after[name] == before[name] for name in SIX) >= 4
    monkeypatch.undo()
    os.chdir(place)
    assert run("--option", "finetune", "--resume") == 0
    assert manifest()["status"] == "finished"


def test_output_that_cannot_be_written_is_said_before_training(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "folder.csv").mkdir()
    (place / "file").write_text("")
    for path in ("folder.csv", "file/a.csv"):
        assert run("--sts_test_out", path) == 2
        assert f"--sts_test_out {path}" in complaint(capsys)
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--sst_dev_out", "data/ids-sst-dev.csv"], "the run reads this file"),
        (["--sst_dev_out", "encoder/config.json"], "the run reads this file"),
        (["--sst_dev_out", "p/x.csv", "--sts_dev_out", "p/../p/x.csv"], "names the same file"),
        (["--sst_dev_out", "out/manifest.json"], "lies in the run's own folder"),
        (["--sst_dev_out", "thesis.txt"], "holds something else than predictions"),
        (["--sst_dev_out", "fifo"], "holds something else than predictions"),
        (["--sst_dev_out", "link"], "holds something else than predictions"),
        (["--sst_dev_out", "x" * 250], "cannot be written"),
        (["--sst_dev_out", ""], "names no file"),
        (["--sst_dev_out", "."], "names no file"),
    ],
)
def test_nothing_but_predictions_is_ever_written_over(
    place: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    (place / "thesis.txt").write_text("years of work")
    (place / "link").symlink_to("thesis.txt")
    os.mkfifo(place / "fifo")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert run(*flags) == 2
    assert words in complaint(capsys)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_a_full_disk_at_the_end_leaves_all_old_predictions(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("--seed", "1") == 0
    before = written()
    write, calls = Path.write_text, iter(range(100))

    def disk_full(path: Path, text: str, **settings: str) -> int:
        if path.parent.name == "predictions" and next(calls) == 3:
            raise OSError(28, "No space left on device")
        return write(path, text, **settings)

    monkeypatch.setattr(Path, "write_text", disk_full)
    assert run("--seed", "2") == 1
    assert written() == before


def test_weights_that_are_no_numbers_never_become_predictions(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*MAIN, "--lr", "1e38", "--max_steps", "1") == 1
    assert "predictions are not finite" in capsys.readouterr().err
    assert not list((place / "predictions").iterdir())
    assert not list((place / "out").glob("best-*"))


def test_earlier_run_is_moved_aside_not_overwritten(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = []
    for seed in ("1", "2", "3"):
        assert run("--seed", seed) == 0
        kept.append((Path("out") / "manifest.json").read_bytes())
    assert (place / "out.old1" / "manifest.json").read_bytes() == kept[0]
    assert (place / "out.old2" / "manifest.json").read_bytes() == kept[1]
    assert manifest()["config"]["seed"] == 3
    assert "out held an earlier run, which is now in" in capsys.readouterr().err


def test_folder_of_something_else_is_left_alone(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "out").mkdir()
    (place / "out" / "thesis.tex").write_text("years of work")
    assert run() == 2
    assert "out: holds something else than a run" in complaint(capsys)
    assert [path.name for path in (place / "out").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_second_run_in_a_folder_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], resume: list[str]
) -> None:
    assert run() == 0
    before = (written(), (place / "out" / "manifest.json").read_bytes())
    capsys.readouterr()
    with held(place / "out"):
        assert run(*resume) == 2
    assert "out: another run is using it" in complaint(capsys)
    assert (written(), (place / "out" / "manifest.json").read_bytes()) == before


# --------------------------------------------------------------------------------------- going on


def test_resume_after_completion_rewrites_the_same_bytes(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*MAIN) == 0
    first, result, log = written(), capsys.readouterr().out, steps_logged()
    for name in SIX:
        Path("predictions", name).unlink()
    assert run(*MAIN, "--resume") == 0
    assert written() == first
    assert capsys.readouterr().out == result
    assert steps_logged() == log
    assert not list(place.glob("out.old*"))


def test_resume_with_nothing_to_resume_starts_afresh_and_says_so(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--resume") == 0
    assert "--resume: no whole checkpoint in out, starting afresh" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "name", "finished"),
    [
        (["--seed", "4"], "seed", True),
        (["--smart_lambda", "1"], "smart_lambda", False),
        (["--batch_size", "4"], "batch_size", False),
        (["--pooling", "mean"], "pooling", True),
    ],
)
def test_resume_with_another_setting_is_refused_by_name(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changed: list[str],
    name: str,
    finished: bool,
) -> None:
    if not finished:
        stop_after(monkeypatch, 4, signal.SIGTERM)
    assert run(*MAIN) == (0 if finished else 143)
    before = (place / "out" / "manifest.json").read_bytes()
    capsys.readouterr()
    assert run(*MAIN, "--resume", *changed) == 2
    assert f"out was begun with another {name} ({name} was " in complaint(capsys)
    assert (place / "out" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("data/sts-train.csv", "sts_train"),
        ("data/ids-sst-test-student.csv", "sst_test"),
        ("encoder/vocab.txt", "vocab.txt"),
    ],
)
def test_resume_with_a_changed_file_is_refused_by_name(
    place: Path, capsys: pytest.CaptureFixture[str], file: str, name: str
) -> None:
    assert run(*MAIN) == 0
    before = written()
    content = (place / file).read_text()
    changed = content.replace("film", "plot") if file.endswith("csv") else content + "new\n"
    (place / file).write_text(changed)
    capsys.readouterr()
    if name == "vocab.txt":
        (place / file).write_text(content.replace("street", "avenue"))
    assert run(*MAIN, "--resume") == 2
    assert f"out was begun with another {name} " in complaint(capsys)
    assert written() == before


def test_resume_may_move_the_data_and_the_outputs(place: Path) -> None:
    assert run(*MAIN) == 0
    (place / "data").rename(place / "moved")
    (place / "encoder").rename(place / "enc")
    argv = [*MAIN, "--resume", "--data_dir", "moved", "--weights", "enc"]
    assert run(*argv, "--sst_dev_out", "other.csv", "--checkpoint_every", "3") == 0
    assert (place / "other.csv").read_bytes() == written()["sst-dev-output.csv"]


def test_leftovers_of_a_killed_write_do_not_stop_a_resume(place: Path) -> None:
    """A kill can fall between a temporary file's creation and its renaming."""
    assert run(*MAIN) == 0
    first = written()
    for name in (".manifest.json.123.tmp", ".log.jsonl.123.tmp", ".bad_rows.jsonl.123.tmp"):
        (place / "out" / name).write_text('{"half')
    (place / "out" / ".step-00000003-0000.123.tmp").mkdir()
    assert run(*MAIN, "--resume") == 0
    assert written() == first
    assert not list((place / "out").glob(".*.tmp"))


# ---------------------------------------------------------------------------------------- signals


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int, number: int) -> None:
    """Send this process a signal in the middle of a step, once."""
    make_step, seen = train.train_step, []

    def hit(*arguments):
        seen.append(0)
        if len(seen) == step:
            os.kill(os.getpid(), number)
        make_step(*arguments)

    monkeypatch.setattr(train, "train_step", hit)


@pytest.mark.parametrize(
    ("number", "code", "step"),
    [
        (signal.SIGTERM, 143, 1),
        (signal.SIGINT, 130, 5),
        (signal.SIGTERM, 143, 6),  # the last step of an epoch
        (signal.SIGINT, 130, 12),  # the last of all
    ],
)
def test_signal_stops_after_the_step_and_resume_completes_the_same_run(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    code: int,
    step: int,
) -> None:
    assert run(*MAIN) == 0
    whole, result = written(), capsys.readouterr().out
    stop_after(monkeypatch, step, number)
    assert run(*MAIN, "--seed", "11711") == code
    assert "--resume" in complaint(capsys)
    assert written() == whole
    assert manifest()["status"] == f"stopped by {signal.Signals(number).name}"
    assert [line["step"] for line in steps_logged()] == list(range(step))
    for name in SIX:
        Path("predictions", name).unlink()
    assert run(*MAIN, "--resume") == 0
    printed = capsys.readouterr()
    assert f"resumed at step {step} of 12" in printed.err
    assert printed.out == result
    assert written() == whole
    assert [line["step"] for line in steps_logged()] == list(range(12))


@pytest.mark.parametrize("moment", ["evaluate", "predict"])
def test_signal_while_scoring_or_predicting_loses_nothing(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    moment: str,
) -> None:
    from minbert import build

    assert run(*MAIN) == 0
    whole = written()
    owner = build if moment == "evaluate" else job
    work = getattr(owner, moment)

    def hit(*arguments, **settings):
        os.kill(os.getpid(), signal.SIGTERM)
        return work(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(owner, moment, hit)
        assert run(*MAIN) == 143
    assert written() == whole
    assert manifest()["status"] == "stopped by SIGTERM"
    Path("predictions", SIX[0]).unlink()
    assert run(*MAIN, "--resume") == 0
    assert written() == whole


def test_a_second_signal_stops_at_once(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backward = Objective.backward

    def hit(*arguments, **settings):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return backward(*arguments, **settings)

    monkeypatch.setattr(Objective, "backward", hit)
    assert run(*MAIN) == 130
    assert "stopped by SIGINT" in complaint(capsys)
    assert steps_logged() == []


# ------------------------------------------------------------------------------------------ kills

LONG = (
    *(*MAIN, "--weights", "encoder", "--epochs", "4", "--lr", "1e-3", "--checkpoint_every", "2"),
    *("--seed", "5", "--smart_dropout", "shared"),
)


def in_process(folder: Path, argv: tuple[str, ...]) -> None:
    """The command line in a process of its own, as a shell would start it."""
    os.chdir(folder)
    torch.set_num_threads(1)
    with (folder / "stderr.txt").open("a") as stream:
        os.dup2(stream.fileno(), sys.stderr.fileno())
        sys.stdout = stream
        sys.exit(cli.main(argv))


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path, tuple[str, ...]], object]]:
    """Start the command line in a fresh process, forked from one with the libraries loaded."""
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "scipy.stats", "tokenizers", "safetensors.torch"])
    started: list[BaseProcess] = []

    def begin(folder: Path, argv: tuple[str, ...]) -> BaseProcess:
        process = context.Process(target=in_process, args=(folder, argv))
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.is_alive():
            process.kill()
        process.join()


def kill_at(process: BaseProcess, log: Path, lines: int, delay: float) -> bool:
    """SIGKILL once the log has that many lines and `delay` seconds more; False if it ended."""
    while process.is_alive():
        try:
            if log.read_bytes().count(b"\n") >= lines:
                time.sleep(delay)
                break
        except FileNotFoundError:
            pass
        time.sleep(0.002)
    if not process.is_alive():
        return False
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def check_kills(place: Path, start, kills: int) -> None:
    """Killed again and again, resumed each time: the bytes are those of the run left in peace."""
    rng = random.Random(kills)
    calm, hit = place / "calm", place / "hit"
    for folder in (calm, hit):
        folder.mkdir()
        (folder / "data").symlink_to(place / "data")
        (folder / "encoder").symlink_to(place / "encoder")
    argv = (*LONG, "--output_dir", "out")
    process = start(calm, argv)
    process.join()
    assert process.exitcode == 0, (calm / "stderr.txt").read_text()
    total = len(steps_logged(calm / "out"))
    assert total == 24
    targets = sorted(rng.sample(range(1, total), kills - 1))
    landed = 0
    for number, lines in enumerate([*targets, total]):
        resume = ("--resume",) if number else ()
        process = start(hit, (*argv, *resume))
        delay = rng.uniform(0, 0.2 if lines == total else 0.02)
        landed += kill_at(process, hit / "out" / "log.jsonl", lines, delay)
    assert landed >= kills - 1  # the last may come too late
    process = start(hit, (*argv, "--resume"))
    process.join()
    said = (hit / "stderr.txt").read_text()
    assert process.exitcode == 0, said
    assert "resumed at step" in said
    assert written(hit / "predictions").keys() >= set(SIX)
    for name in SIX:
        ours, expected = (each / "predictions" / name for each in (hit, calm))
        assert ours.read_bytes() == expected.read_bytes(), name
    assert [line["step"] for line in steps_logged(hit / "out")] == list(range(total))
    again, before = (manifest(each / "out") for each in (hit, calm))
    assert again["dev"] == before["dev"] and again["best_epoch"] == before["best_epoch"]


def test_killed_run_resumes_to_the_same_bytes(place: Path, start) -> None:
    check_kills(place, start, kills=3)


@pytest.mark.slow
def test_run_killed_many_times_resumes_to_the_same_bytes(place: Path, start) -> None:
    check_kills(place, start, kills=15)


def test_a_signal_while_the_files_are_written_does_not_mix_two_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--option", "finetune", "--rrobin", "--lr", "0.01")
    assert run(*flags, "--seed", "1") == 0
    before = written()
    sync = files._sync

    def signalled(path: Path) -> None:
        if path.parent.name == "predictions":
            monkeypatch.setattr(files, "_sync", sync)
            os.kill(os.getpid(), signal.SIGTERM)
        sync(path)

    monkeypatch.setattr(files, "_sync", signalled)
    assert run(*flags, "--seed", "2") == 0  # it came when all was done
    assert files._sync is sync
    after = written()
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in after if name.startswith("sts"))


def test_the_encoders_recommendation_is_taken_said_and_recorded(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    advice = {"pretrain": {"lr": 0.02, "epochs": 1, "batch_size": 4}}
    (place / "encoder" / "recommended.json").write_text(json.dumps(advice))
    assert cli.main(["--weights", "encoder", "--output_dir", "out", "--lr", "0.5"]) == 0
    shown = capsys.readouterr().err
    assert "epochs, batch_size: as recommended.json in the encoder's folder says" in shown
    assert "learning rate 0.5, 1 epochs, batch size 4" in shown
    config = manifest()["config"]
    assert (config["lr"], config["epochs"], config["batch_size"]) == (0.5, 1, 4)


def test_the_log_tells_what_r3f_measures(place: Path) -> None:
    assert run("--option", "finetune", "--r3f") == 0
    first, *others = steps_logged()
    assert first["r3f_of_dropout"] > 1e3 * first["r3f_of_noise"] > 0
    assert all(line["r3f"] > 0 for line in (first, *others))
    assert not any("r3f_of_noise" in line for line in others[:40])


def test_r4f_prints_its_bound_and_resumes_to_the_same_bytes(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--r4f", "--rlayer", "--rrobin", "--option", "finetune")
    assert run(*flags) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    bounds = [float(text) for text in re.findall(r"(?:sst|para|sts) (\d+\.\d+)", line)]
    assert bounds == pytest.approx([1.0] * 3, abs=3e-3)
    whole = written()
    stop_after(monkeypatch, 4, signal.SIGTERM)
    assert run(*flags, "--output_dir", "again") == 143
    assert run(*flags, "--output_dir", "again", "--resume") == 0
    assert written() == whole


# -------------------------------------------------------------------------------------- schedules

ROWS = {"sst": 16, "para": 24, "sts": 8, "cfimdb": 8}


@pytest.mark.parametrize(
    "options",
    [
        *([kind] for kind in SCHEDULES),
        ["pre", "--pre_epochs", "2", "--pre_task", "sst", "--smart", "--clip", "1"],
        ["temperature", "--temperature", "3", "--epoch_batches", "4", "--tasks", "sst,cfimdb"],
        *(
            [kind, "--steps_per_task", "summed", *more]
            for kind, more in (
                ("equal", ["--smart", "--clip", "1"]),
                ("pre", ["--freelb"]),
                ("full", ["--r4f", "--rlayer", "--smart_dropout", "shared", "--smart"]),
            )
        ),
    ],
    ids=" ".join,
)
def test_every_schedule_trains_and_resumes_to_the_same_bytes(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
) -> None:
    for task, rows in ROWS.items():
        write_course_files(place / "data", rows=rows, tasks=(task,))
    argv = ["--option", "finetune", "--rrobin", *options]
    assert run(*argv) == 0
    files, lines, told = written(), steps_logged(), manifest()
    assert set(SIX) <= set(files)
    assert "epochs   task   batch size  batches     rows  of its set\n1" in capsys.readouterr().err
    stop_after(monkeypatch, 2, signal.SIGTERM)
    assert run(*argv, "--output_dir", "again") == 143
    assert run(*argv, "--output_dir", "again", "--resume") == 0
    assert written() == files
    assert manifest(Path("again"))["epochs"][-1]["scores"] == told["epochs"][-1]["scores"]
    timeless = [
        [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in own]
        for own in (steps_logged(Path("again")), lines)
    ]
    assert timeless[0] == timeless[1]

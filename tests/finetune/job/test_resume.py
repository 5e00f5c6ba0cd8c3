"""A main job that was stopped goes on, and ends in the same bytes."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from minbert.finetune import job
from minbert.regularizers.objective import Objective
from minbert.support import durable_files
from tests.finetune.job.running import (
    MAIN,
    SIX,
    complaint,
    manifest,
    run,
    steps_logged,
    stop_after,
    written,
)


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
        (["--micro_batch_size", "2"], "micro_batch_size", False),
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
    from minbert.finetune import build

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


def test_a_signal_while_the_files_are_written_does_not_mix_two_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--option", "finetune", "--rrobin", "--lr", "0.01")
    assert run(*flags, "--seed", "1") == 0
    before = written()
    sync = durable_files._sync

    def signalled(path: Path) -> None:
        if path.parent.name == "predictions":
            monkeypatch.setattr(durable_files, "_sync", sync)
            os.kill(os.getpid(), signal.SIGTERM)
        sync(path)

    monkeypatch.setattr(durable_files, "_sync", signalled)
    assert run(*flags, "--seed", "2") == 0  # it came when all was done
    assert durable_files._sync is sync
    after = written()
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in after if name.startswith("sts"))


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

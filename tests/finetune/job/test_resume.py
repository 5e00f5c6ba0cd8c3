"""A main job that was stopped goes on, and ends in the same bytes."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from minbert.finetune import build, job
from minbert.regularizers.objective import Objective
from minbert.support import durable_files
from minbert.training.plan import Trainee
from tests.finetune.job.conftest import Start
from tests.finetune.job.running import (
    MAIN,
    SHORT,
    SIX,
    complaint,
    go_on,
    in_process,
    manifest,
    run,
    spoil_after,
    steps_logged,
    stop_after,
    written,
)
from tests.helpers import rest_slow

Ran = tuple[Path, str]


def test_resume_after_completion_rewrites_the_same_bytes(
    ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    (_, result), first, log = ran, written(), steps_logged()
    for name in SIX:
        Path("predictions", name).unlink()
    go_on(*MAIN)
    assert written() == first
    assert capsys.readouterr().out == result
    assert steps_logged() == log


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
    ran: Ran,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changed: list[str],
    name: str,
    finished: bool,
) -> None:
    if not finished:
        stop_after(monkeypatch, 4, signal.SIGTERM)
        assert run(*MAIN) == 143
    before = Path("out", "manifest.json").read_bytes()
    capsys.readouterr()
    assert run(*MAIN, "--resume", *changed) == 2
    assert f"out was begun with another {name} ({name} was " in complaint(capsys)
    assert Path("out", "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("data/sts-train.csv", "sts_train"),
        ("data/ids-sst-test-student.csv", "sst_test"),
        ("encoder/vocab.txt", "vocab.txt"),
    ],
)
def test_resume_with_a_changed_file_is_refused_by_name(
    ran: Ran, capsys: pytest.CaptureFixture[str], file: str, name: str
) -> None:
    (place, _), before = ran, written()
    content = (place / file).read_text()
    changed = content.replace("film", "plot") if file.endswith("csv") else content + "new\n"
    (place / file).write_text(changed)
    if name == "vocab.txt":
        (place / file).write_text(content.replace("street", "avenue"))
    assert run(*MAIN, "--resume") == 2
    assert f"out was begun with another {name} " in complaint(capsys)
    assert written() == before


def test_resume_may_move_the_data_and_the_outputs(ran: Ran) -> None:
    place, _ = ran
    (place / "data").rename(place / "moved")
    (place / "encoder").rename(place / "enc")
    places = ("--data_dir", "moved", "--weights", "enc", "--sst_dev_out", "other.csv")
    go_on(*MAIN, *places, "--checkpoint_every", "3")
    assert (place / "other.csv").read_bytes() == written()["sst-dev-output.csv"]


def test_leftovers_of_a_killed_write_do_not_stop_a_resume(ran: Ran) -> None:
    """A kill can fall between a temporary file's creation and its renaming."""
    (place, _), first = ran, written()
    for name in (".manifest.json.123.tmp", ".log.jsonl.123.tmp", ".bad_rows.jsonl.123.tmp"):
        (place / "out" / name).write_text('{"half')
    (place / "out" / ".step-00000003-0000.123.tmp").mkdir()
    go_on(*MAIN)
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
    ran: Ran,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    code: int,
    step: int,
) -> None:
    (_, result), whole = ran, written()
    stop_after(monkeypatch, step, number)
    assert run(*MAIN, "--seed", "11711") == code
    assert "--resume" in complaint(capsys)
    assert written() == whole
    assert manifest()["status"] == f"stopped by {signal.Signals(number).name}"
    assert [line["step"] for line in steps_logged()] == list(range(step))
    for name in SIX:
        Path("predictions", name).unlink()
    go_on(*MAIN)
    printed = capsys.readouterr()
    assert f"resumed at step {step} of 12" in printed.err
    assert printed.out == result
    assert written() == whole
    assert [line["step"] for line in steps_logged()] == list(range(12))


@pytest.mark.parametrize("moment", ["evaluate", "predict"])
def test_signal_while_scoring_or_predicting_loses_nothing(
    ran: Ran, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
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
    go_on(*MAIN)
    assert written() == whole


def signalled_thrice(moment: str, folder: Path, argv: Sequence[str]) -> None:
    """`in_process`, where three signals come at the `moment`."""
    owner, name = {
        "step": (Objective, "passes"),
        "save": (durable_files, "save_tensors"),
        "score": (build, "evaluate"),
        "predict": (job, "predict"),
        "read": (build, "build_model"),
    }[moment]
    work = getattr(owner, name)

    def hit(*arguments, **settings):
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        return work(*arguments, **settings)

    setattr(owner, name, hit)
    in_process(folder, argv)


@pytest.mark.parametrize("moment", rest_slow(3, ["save", "step", "predict", "read", "score"]))
def test_a_burst_of_signals_ends_without_a_traceback_and_nothing_half_saved(
    ran: Ran, start: Start, moment: str
) -> None:
    argv = (*MAIN, *SHORT, "--checkpoint_every", "2")
    (place, _), whole = ran, written()
    process = start(place, *argv, work=partial(signalled_thrice, moment))
    process.join()
    said = (place / "printed.txt").read_text()
    assert process.exitcode == 130, said
    assert "Traceback" not in said and "Exception" not in said
    assert written() == whole
    process = start(place, *argv, "--resume")
    process.join()
    assert process.exitcode == 0
    assert written() == whole
    assert not list((place / "out").glob(".*.tmp"))


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
    go_on(*flags, "--output_dir", "again")
    assert written() == whole


def spoil_weight(trainee: Trainee[Any, Any], word: str) -> None:
    """Put a NaN into the last weight whose name has `word` in it."""
    name = [name for name, _ in trainee.model.named_parameters() if word in name][-1]
    with torch.no_grad():
        trainee.model.get_parameter(name).view(-1)[-1] = float("nan")


def spoil_moment(trainee: Trainee[Any, Any]) -> None:
    next(iter(trainee.optimizer.state.values()))["exp_avg_sq"].view(-1)[0] = float("nan")


def spoil_teacher(trainee: Trainee[Any, Any]) -> None:
    next(iter(trainee.objective.state_dict().values())).view(-1)[0] = float("inf")


SPOILS: dict[str, Callable[[Trainee[Any, Any]], None]] = {
    "a head": lambda trainee: spoil_weight(trainee, "heads.para"),
    "the encoder": lambda trainee: spoil_weight(trainee, "position_embeddings"),
    "optimizer": spoil_moment,
    "proximal teacher": spoil_teacher,
}


@pytest.mark.parametrize(
    ("what", "step"),
    rest_slow(
        4,
        [*zip(SPOILS, (3, 7, 11, 12), strict=True), *zip(SPOILS, (12, 4, 12, 11), strict=True)],
    ),
)
def test_a_state_that_is_not_finite_is_never_kept_and_a_resume_ends_as_if_it_had_not_been(
    ran: Ran,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    what: str,
    step: int,
) -> None:
    argv, whole = (*MAIN, "--checkpoint_every", "2"), written()
    with monkeypatch.context() as patched:
        spoil_after(patched, step, SPOILS[what])
        assert run(*argv) == 1
    assert "finite" in (line := complaint_of_failure(capsys)) or "nan" in line
    assert written() == whole
    for file in Path("out").rglob("*.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(file).values()), file
    go_on(*argv)
    assert written() == whole
    assert [line["step"] for line in steps_logged()] == list(range(12))


def complaint_of_failure(capsys: pytest.CaptureFixture[str]) -> str:
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    return line

"""A job of several ranks is the job of one: same weights, same files, same ways to end."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from minbert.finetune.config import RunConfig
from minbert.support.errors import InputError
from tests.finetune.job.conftest import Start
from tests.finetune.job.faults import Fault, all_gone, in_ranks
from tests.finetune.job.running import (
    SHORT,
    SIX,
    ids_of,
    ids_predicted,
    in_process,
    manifest,
    run,
    steps_logged,
    written,
)

CALM = ("--option", "finetune", "--rrobin", "--hidden_dropout_prob", "0", "--batch_size", "5")
FORKED = pytest.mark.usefixtures("forked_ranks")
TWO = (*CALM, "--ranks", "2")


@FORKED
def test_without_dropout_two_ranks_are_one(calm: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*CALM, "--epochs", "1") == 0  # of two the better might differ by rounding
    lines, predicted, whole = steps_logged(), written(), manifest()
    capfd.readouterr()
    assert run(*TWO, "--epochs", "1", "--output_dir", "two") == 0
    printed = capfd.readouterr()
    for ours, theirs in zip(steps_logged(Path("two")), lines, strict=True):
        for key in ("step", "task", "tokens"):
            assert ours[key] == theirs[key]
        for key in ("loss", "task_loss"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-5)
    found = written()
    assert found.keys() == predicted.keys() == set(SIX)
    assert found["sst-dev-output.csv"] == predicted["sst-dev-output.csv"]
    for name, text in found.items():  # complete, and in order
        task, split, _ = name.split("-")
        source = {"sst": "ids-sst", "para": "quora", "sts": "sts"}[task]
        kind = {"dev": "dev", "test": "test-student"}[split]
        assert ids_predicted(text) == ids_of(calm / "data" / f"{source}-{kind}.csv")
    assert manifest(Path("two"))["dev"] == pytest.approx(whole["dev"], abs=5e-3)
    assert printed.out.count("dev scores of the best epoch") == 1
    assert "Warning" not in printed.err
    assert [printed.err.count(words) for words in ("run folder two", "epoch 1: dev")] == [1, 1]


@FORKED
@pytest.mark.slow
def test_ended_and_resumed_it_ends_in_the_same_bytes(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A signal to one rank stops all after the same step; a later one, to the launcher, as well."""
    assert run(*TWO, "--output_dir", "whole") == 0
    whole, count = written(), len(steps_logged(Path("whole")))
    words = "stopped by {}; the same command with --resume goes on"
    with monkeypatch.context() as patched:
        in_ranks(patched, Fault(4, signal.SIGTERM, rank=1))
        assert run(*TWO) == 128 + signal.SIGTERM
    assert capfd.readouterr().err.splitlines()[-1] == words.format("SIGTERM")
    assert 4 < len(steps_logged()) < count and list(place.glob("out/step-*"))
    assert run(*CALM, "--resume") == 2  # by one process
    assert "was begun with another ranks" in capfd.readouterr().err
    with monkeypatch.context() as patched:
        in_ranks(patched, Fault(count - 3, signal.SIGINT, to_launcher=True))
        assert run(*TWO, "--resume") == 128 + signal.SIGINT
    assert capfd.readouterr().err.splitlines()[-1] == words.format("SIGINT")
    assert len(steps_logged()) < count and all_gone()
    assert run(*TWO, "--resume") == 0
    assert written() == whole and len(steps_logged()) == count


@pytest.mark.slow  # one that crashes: training/test_group.py
def test_a_killed_rank_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    in_ranks(monkeypatch, Fault(4, rank=1))
    assert run(*TWO) == 1
    said = capfd.readouterr().err.splitlines()
    assert said[-1] == "error: rank 1 was killed by SIGKILL (out of memory?)"
    assert sum("error" in line for line in said) == 1
    assert not list(place.glob("predictions/*")) and all_gone()


@pytest.mark.slow
def test_ranks_end_with_a_killed_launcher(place: Path, start: Start) -> None:
    job = start(place, *SHORT, *TWO, "--epochs", "500", work=launcher_killed)
    job.join(120)
    assert job.exitcode == -signal.SIGKILL and all_gone()


def launcher_killed(folder: Path, argv: tuple[str, ...]) -> None:
    in_ranks(pytest.MonkeyPatch(), Fault(4, to_launcher=True))
    in_process(folder, argv)


@FORKED
def test_a_wrong_file_is_one_line_of_one_rank(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (place / "data" / "sts-dev.csv").write_text("id\n")
    assert run(*TWO) == 2
    printed = capfd.readouterr()
    assert sum("error" in line for line in printed.err.splitlines()) == 1
    assert "sts-dev.csv" in printed.err.splitlines()[-1] and printed.out == ""
    assert not (place / "predictions").exists() or written() == {}


def test_what_depends_on_a_whole_batch_has_no_parts() -> None:
    for parts in ({"ranks": 2}, {"micro_batch_size": 2}):
        ((name, value),) = parts.items()
        for compat in ("mtdnn", "smart-pytorch"):
            with pytest.raises(InputError, match=f"^--{name} {value} --compat {compat}: [^\n]*$"):
                RunConfig(smart=True, compat=compat, **parts)
        RunConfig(r3f=True, compat="fairseq", **parts)
    with pytest.raises(InputError, match=r"^--ranks 3 --batch_size 2: too few rows$"):
        RunConfig(batch_size=2, ranks=3)

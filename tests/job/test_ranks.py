"""A job of several ranks is the job of one: same weights, same files, same ways to end."""

from __future__ import annotations

import json
import multiprocessing.spawn
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from minbert import ranks
from minbert.objective import Objective
from minbert.runtime import InputError, RunError, StopRequest
from minbert.shared import SharedObjective
from tests.job.running import SHORT, SIX, complaint, run, steps_logged, written
from tests.tiny_models import Case, tiny_batch, tiny_model

CALM = ("--option", "finetune", "--rrobin", "--hidden_dropout_prob", "0", "--batch_size", "5")


@pytest.fixture
def calm(place: Path) -> Path:
    """Without dropout in the encoder."""
    config = place / "encoder" / "config.json"
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config.write_text(json.dumps({**json.loads(config.read_text()), **rates}))
    return place


@pytest.mark.parametrize("more", [[], ["--steps_per_task", "summed", "--clip", "0.5"]])
def test_without_dropout_two_ranks_are_one(calm: Path, more: list[str]) -> None:
    assert run(*CALM, *more) == 0
    lines, predicted = steps_logged(), written()
    assert run(*CALM, *more, "--ranks", "2", "--output_dir", "two") == 0
    for ours, theirs in zip(steps_logged(Path("two")), lines, strict=True):
        assert (ours["step"], ours["task"], ours["tokens"]) == (
            theirs["step"],
            theirs["task"],
            theirs["tokens"],
        )
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["task_loss"] == pytest.approx(theirs["task_loss"], rel=1e-5)
    assert written()["sst-dev-output.csv"] == predicted["sst-dev-output.csv"]


@pytest.mark.parametrize("case", [Case("sst", "bi"), Case("para", "relational"), Case("sts", "bi")])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_parts_add_up_to_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch, case: Case, count: int
) -> None:
    """In float64, of 4 examples; 5 ranks are more than there are."""
    batch = tiny_batch(case, lengths=[7, 4, 5, 3] * case.views)
    model = tiny_model(case, dropout=0, head_dropout=0)
    plain = Objective().backward(model, batch, seed=1)
    whole = [own.grad.reshape(-1) for own in model.parameters() if own.grad is not None]
    shared = SharedObjective(Objective(), StopRequest())
    parts: list[torch.Tensor] = []
    monkeypatch.setattr(ranks, "size", lambda: count)
    monkeypatch.setattr(ranks, "summed", lambda tensor: parts.append(tensor.clone()) or tensor)
    for number in range(count):
        model.zero_grad()  # to None: what `whole` holds stays
        monkeypatch.setattr(ranks, "rank", lambda number=number: number)
        values = shared.backward(model, batch, seed=1)
    expected = [*whole, *(value.reshape(1) for value in plain.values())]
    torch.testing.assert_close(sum(parts), torch.cat(expected), rtol=1e-10, atol=1e-12)
    assert values.keys() == plain.keys()


@pytest.mark.parametrize(
    "method", [["--smart"], ["--r3f"], ["--freelb"], ["--option", "pretrain", "--rlayer"]]
)
def test_every_method_runs_and_ends_in_the_same_bytes_twice(
    place: Path, method: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    found = []
    for folder in ("once", "twice"):
        flags = ["--option", "finetune", "--rrobin", *method, "--ranks", "2", "--epochs", "1"]
        assert run(*flags, "--output_dir", folder) == 0
        found.append(written())
    assert found[0] == found[1] and set(found[0]) == set(SIX)
    assert capfd.readouterr().out.count("dev scores of the best epoch") == 2


def test_stopped_on_one_rank_all_stop_and_resume_to_the_same_bytes(place: Path) -> None:
    flags = [*CALM, *SHORT, "--ranks", "2", "--epochs", "6"]
    command = [sys.executable, str(Path(__file__).parents[2] / "multitask_classifier.py"), *flags]
    assert subprocess.run([*command, "--output_dir", "whole"], check=False).returncode == 0
    expected = written()
    job = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = Path("out/log.jsonl")
    wait_until(lambda: log.exists() and log.stat().st_size > 0)
    others = children(job.pid)
    job.send_signal(signal.SIGTERM)
    assert "stopped by SIGTERM" in job.communicate()[1] and job.returncode == 143
    assert 0 < len(steps_logged()) < len(steps_logged(Path("whole")))
    assert others
    wait_until(lambda: not any(map(lives, others)))
    assert subprocess.run([*command, "--resume"], check=False).returncode == 0
    assert written() == expected


def children(pid: int) -> list[int]:
    """The processes that it started."""
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]


def wait_until(true: Callable[[], bool]) -> None:
    last = time.monotonic() + 30
    while not true():
        assert time.monotonic() < last
        time.sleep(0.05)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def fail() -> int:
    raise RuntimeError("no memory left")


def leave() -> int:
    ranks.wait()
    os._exit(3)


def sum_up() -> int:
    ranks.summed(torch.ones(3))
    ranks.highest(ranks.rank())
    ranks.wait()
    return 0


def test_ranks_add_up_and_agree() -> None:
    threads = torch.get_num_threads()
    with ranks.started(2, torch.device("cpu"), sum_up):
        assert (ranks.rank(), ranks.size()) == (0, 2)
        assert ranks.mine([0, 1, 2, 3, 4]) == [0, 2, 4]
        assert ranks.summed(torch.ones(3)).tolist() == [2, 2, 2]
        assert ranks.highest(0) == 1
        ranks.wait()
    assert (ranks.rank(), ranks.size()) == (0, 1) and torch.get_num_threads() == threads
    assert ranks.summed(torch.ones(1)) == 1 and ranks.highest(7) == 7


def test_a_rank_that_fails_is_quoted() -> None:
    with (
        pytest.raises(RunError, match=r"^rank 1 ended: RuntimeError: no memory left$"),
        ranks.started(2, torch.device("cpu"), fail),
    ):
        ranks.wait()


def test_a_rank_that_goes_without_a_word_is_noticed() -> None:
    with (
        pytest.raises(RunError, match=r"^rank 1 ended: without a word$"),
        ranks.started(2, torch.device("cpu"), leave),
    ):
        ranks.wait()
        ranks.summed(torch.ones(1))


def test_a_rank_that_never_begins_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", b"/bin/false")
    with (
        pytest.raises(RunError, match=r"^rank 1 ended: without a word$"),
        ranks.started(2, torch.device("cpu"), sum_up),
    ):
        pass


def test_ranks_need_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    ranks.check(2, torch.device("cuda"))
    with pytest.raises(InputError, match=r"^--ranks 3: 2 GPUs are here, one a rank$"):
        ranks.check(3, torch.device("cuda"))
    with pytest.raises(InputError, match=r"--ranks 2: not on mps; add --device cpu"):
        ranks.check(2, torch.device("mps"))


def test_a_wrong_file_is_one_line_of_one_rank(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "data" / "sts-dev.csv").write_text("id\n")
    assert run(*CALM, "--ranks", "2") == 2
    assert "sts-dev.csv" in complaint(capsys)
    assert written() == {}

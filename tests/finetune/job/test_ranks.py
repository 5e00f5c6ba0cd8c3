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

from minbert.finetune.config import RunConfig
from minbert.regularizers.objective import Objective
from minbert.regularizers.smart.adversarial import Adversarial
from minbert.support.errors import InputError, RunError
from minbert.support.signals import StopRequest
from minbert.training import ranks
from minbert.training.shared import SharedObjective
from tests.finetune.job.running import SHORT, SIX, complaint, manifest, run, steps_logged, written
from tests.helpers import TINY
from tests.regularizers.test_smart import hold_noise
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
@pytest.mark.parametrize("terms", [[], [Adversarial(epsilon=0.02, sigma=0.01)]], ids=len)
def test_parts_add_up_to_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch, case: Case, count: int, terms: list[Adversarial]
) -> None:
    """In float64, of 4 examples; 5 ranks are more than there are. Noise is the same everywhere."""
    batch = tiny_batch(case, lengths=[7, 4, 5, 3] * case.views)
    noise = torch.randn(batch.views, 4, 7, TINY.hidden_size, dtype=torch.float64)
    model = tiny_model(case, dropout=0, head_dropout=0)
    objective = Objective(terms)
    hold_noise(monkeypatch, 0.01 * noise.flatten(0, 1))
    plain = objective.backward(model, batch, seed=1)
    whole = [own.grad.reshape(-1) for own in model.parameters() if own.grad is not None]
    shared = SharedObjective(objective, StopRequest())
    parts: list[torch.Tensor] = []
    monkeypatch.setattr(ranks, "size", lambda: count)
    monkeypatch.setattr(ranks, "summed", lambda tensor: parts.append(tensor.clone()) or tensor)
    for number in range(count):
        model.zero_grad()  # to None: what `whole` holds stays
        monkeypatch.setattr(ranks, "rank", lambda number=number: number)
        own = noise if count > 4 else noise[:, number::count]
        longest = 7 if count > 4 else int(batch.part(number, count).tokens.lengths.max())
        hold_noise(monkeypatch, 0.01 * own[:, :, :longest].flatten(0, 1))
        values = shared.backward(model, batch, seed=1)
    expected = [*whole, *(value.reshape(1) for value in plain.values())]
    torch.testing.assert_close(sum(parts), torch.cat(expected), rtol=1e-8, atol=1e-10)
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


COMMAND = (sys.executable, str(Path(__file__).parents[3] / "multitask_classifier.py"))
LONG = (*COMMAND, *CALM, *SHORT, "--ranks", "2", "--epochs", "6")


def begun(*more: str, until: Callable[[], bool]) -> tuple[subprocess.Popen, list[int]]:
    """A job that has come so far, and the processes it has started."""
    job = subprocess.Popen([*LONG, *more], stderr=subprocess.PIPE, text=True)
    wait_until(lambda: until() or job.poll() is not None)
    others = children(job.pid)
    assert job.poll() is None
    return job, others


def training() -> bool:
    log = Path("out/log.jsonl")
    return log.exists() and log.stat().st_size > 0


def ended(job: subprocess.Popen, others: list[int]) -> tuple[int, str]:
    """Its exit code and last line, once all is gone."""
    said = job.communicate(timeout=60)[1].splitlines()[-1]
    wait_until(lambda: not any(map(lives, others)))
    return job.returncode, said


@pytest.mark.parametrize("told", ["parent", "child", "group"])
def test_stopped_all_stop_and_resume_to_the_same_bytes(place: Path, told: str) -> None:
    assert subprocess.run([*LONG, "--output_dir", "whole"], check=False).returncode == 0
    expected = written()
    job, others = begun(until=training)
    number = signal.SIGINT if told == "group" else signal.SIGTERM
    for pid in {"parent": [job.pid], "child": others[-1:], "group": [job.pid, *others]}[told]:
        os.kill(pid, number)
    words = f"stopped by {number.name}; the same command with --resume goes on"
    assert ended(job, others) == (128 + number, words)
    assert 0 < len(steps_logged()) < len(steps_logged(Path("whole")))
    assert list(place.glob("out/step-*"))
    assert subprocess.run([*LONG, "--resume"], check=False).returncode == 0
    assert written() == expected


def test_a_killed_rank_is_named(place: Path) -> None:
    job, others = begun(until=training)
    os.kill(others[-1], signal.SIGKILL)
    assert ended(job, others) == (1, "error: rank 1 was killed by SIGKILL (out of memory?)")
    assert "killed by SIGKILL" in manifest()["status"] and written() == {}


def test_ranks_end_with_the_first(place: Path) -> None:
    job, others = begun(until=training)
    job.kill()
    assert ended(job, others)[0] == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_the_others(place: Path, number: signal.Signals) -> None:
    job, others = begun(until=lambda: len(list(place.glob("out"))) > 0)
    os.kill(job.pid, number)
    assert ended(job, others)[0] == 128 + number


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
        pytest.raises(RunError, match=r"^rank 1: RuntimeError: no memory left$"),
        ranks.started(2, torch.device("cpu"), fail),
    ):
        ranks.wait()


def test_a_rank_that_goes_without_a_word_is_noticed() -> None:
    with (
        pytest.raises(RunError, match=r"^rank 1: exit code 3$"),
        ranks.started(2, torch.device("cpu"), leave),
    ):
        ranks.wait()
        ranks.summed(torch.ones(1))


def test_a_rank_that_never_begins_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", b"/bin/false")
    with (
        pytest.raises(RunError, match=r"^rank 1: exit code 1$"),
        ranks.started(2, torch.device("cpu"), sum_up),
    ):
        pass


def test_what_depends_on_a_whole_batch_has_no_parts() -> None:
    with pytest.raises(InputError, match="--ranks 2 --compat mtdnn: "):
        RunConfig(smart=True, compat="mtdnn", ranks=2)
    with pytest.raises(InputError, match=r"^--ranks 3 --batch_size 2: too few rows$"):
        RunConfig(batch_size=2, ranks=3)


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

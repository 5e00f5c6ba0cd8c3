"""A job of several ranks is the job of one: same weights, same files, same ways to end."""

from __future__ import annotations

import itertools
import json
import multiprocessing.spawn
import os
import signal
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from minbert.finetune.config import RunConfig
from minbert.support.errors import InputError
from minbert.training import loop, ranks
from tests.finetune.job.conftest import Start, Work
from tests.finetune.job.running import (
    SHORT,
    SIX,
    complaint,
    in_process,
    make_place,
    manifest,
    run,
    steps_logged,
    written,
)

pytestmark = pytest.mark.usefixtures("patient_ranks")
CALM = ("--option", "finetune", "--rrobin", "--hidden_dropout_prob", "0", "--batch_size", "5")


@pytest.fixture
def calm(place: Path) -> Path:
    """Without dropout in the encoder."""
    config = place / "encoder" / "config.json"
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config.write_text(json.dumps({**json.loads(config.read_text()), **rates}))
    return place


@pytest.mark.parametrize("more", [[], ["--steps_per_task", "summed", "--clip", "0.5"]])
def test_without_dropout_two_ranks_are_one(
    calm: Path, capfd: pytest.CaptureFixture[str], more: list[str]
) -> None:
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
    assert capfd.readouterr().out.count("dev scores of the best epoch") == 2


@pytest.mark.usefixtures("forked_ranks")
@pytest.mark.parametrize(
    "method", [["--smart"], ["--r3f"], ["--freelb"], ["--option", "pretrain", "--rlayer"]]
)
def test_every_method_runs_and_ends_in_the_same_bytes_twice(place: Path, method: list[str]) -> None:
    found = []
    for folder in ("once", "twice"):
        flags = ["--option", "finetune", "--rrobin", *method, "--ranks", "2", "--epochs", "1"]
        assert run(*flags, "--output_dir", folder) == 0
        found.append(written())
    assert found[0] == found[1] and set(found[0]) == set(SIX)


LONG = (*CALM, *SHORT, "--ranks", "2", "--epochs", "6")
OTHERS = "others.json"  # process numbers of the ranks that rank 0 has started


def forking_ranks(folder: Path, argv: Sequence[str]) -> None:
    """`in_process`, with the other ranks forked as by `forked_ranks`."""
    context = multiprocessing.get_context("forkserver")
    multiprocessing.get_context = lambda _kind: context
    in_process(folder, argv)


def telling(told: str, number: int, run_in: Work, folder: Path, argv: Sequence[str]) -> None:
    """`run_in`, which in its fifth step sends a signal to the ranks that `told` says."""
    make_step, calls = loop.train_step, itertools.count(1)

    def hit(*arguments) -> None:
        if next(calls) == 5:
            tell(told, number)
        make_step(*arguments)

    loop.train_step, ranks._GRACE = hit, 120.0
    run_in(folder, argv)


def telling_while_waiting(number: int, folder: Path, argv: Sequence[str]) -> None:
    """`in_process`, which sends itself a signal once it waits for the other rank to be ready."""
    wait = ranks._Other.wait_until_ready

    def hit(other: ranks._Other) -> None:
        tell("parent", number)
        wait(other)

    ranks._Other.wait_until_ready = hit
    in_process(folder, argv)


def tell(told: str, number: int) -> None:
    """In rank 0: send the signal to `parent`, `child` or `group`."""
    others = [process.pid for process in multiprocessing.active_children()]
    Path(OTHERS).write_text(json.dumps(others))
    own = os.getpid()
    for pid in {"parent": [own], "child": others, "group": [*others, own]}[told]:
        os.kill(pid, number)


def ended(job: BaseProcess, place: Path) -> tuple[int | None, str]:
    """A job's exit code and the last line it printed, once all its ranks are gone."""
    job.join(120)
    (other,) = json.loads((place / OTHERS).read_text())
    last = time.monotonic() + 120
    while lives(other):
        assert time.monotonic() < last
        time.sleep(0.02)
    said = (place / "printed.txt").read_text().splitlines()
    return job.exitcode, said[-1] if said else ""


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, forking: ForkServerContext
) -> tuple[dict[str, bytes], int]:
    """The predictions of `LONG` where nothing stops it, and its number of steps."""
    folder = tmp_path_factory.mktemp("whole")
    make_place(folder)
    job = forking.Process(target=forking_ranks, args=(folder, LONG))
    job.start()
    job.join()
    assert job.exitcode == 0, (folder / "printed.txt").read_text()
    return written(folder / "predictions"), len(steps_logged(folder / "out"))


@pytest.mark.parametrize(
    ("told", "run_in"),
    [("parent", forking_ranks), ("child", forking_ranks), ("group", in_process)],
    ids=["parent", "child", "group"],
)
def test_stopped_all_stop_and_resume_to_the_same_bytes(
    place: Path, start: Start, whole: tuple[dict[str, bytes], int], told: str, run_in: Work
) -> None:
    number = signal.SIGINT if told == "group" else signal.SIGTERM
    job = start(place, *LONG, work=partial(telling, told, number, run_in))
    words = f"stopped by {number.name}; the same command with --resume goes on"
    assert ended(job, place) == (128 + number, words)
    assert 0 < len(steps_logged()) < whole[1]
    assert list(place.glob("out/step-*"))
    resumed = start(place, *LONG, "--resume", work=forking_ranks)
    resumed.join()
    assert resumed.exitcode == 0
    assert written() == whole[0] and len(steps_logged()) == whole[1]


def test_a_killed_rank_is_named(place: Path, start: Start) -> None:
    job = start(place, *LONG, work=partial(telling, "child", signal.SIGKILL, in_process))
    assert ended(job, place) == (1, "error: rank 1 was killed by SIGKILL (out of memory?)")
    assert "killed by SIGKILL" in manifest()["status"] and written() == {}


def test_ranks_end_with_the_first(place: Path, start: Start) -> None:
    job = start(place, *LONG, work=partial(telling, "parent", signal.SIGKILL, in_process))
    assert ended(job, place)[0] == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_the_others(
    place: Path, start: Start, number: signal.Signals
) -> None:
    job = start(place, *LONG, work=partial(telling_while_waiting, number))
    assert ended(job, place)[0] == 128 + number


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_depends_on_a_whole_batch_has_no_parts() -> None:
    for parts in ({"ranks": 2}, {"micro_batch_size": 2}):
        ((name, value),) = parts.items()
        for compat in ("mtdnn", "smart-pytorch"):
            with pytest.raises(InputError, match=f"^--{name} {value} --compat {compat}: [^\n]*$"):
                RunConfig(smart=True, compat=compat, **parts)
        RunConfig(r3f=True, compat="fairseq", **parts)
    with pytest.raises(InputError, match=r"^--ranks 3 --batch_size 2: too few rows$"):
        RunConfig(batch_size=2, ranks=3)


@pytest.mark.usefixtures("forked_ranks")
def test_a_wrong_file_is_one_line_of_one_rank(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "data" / "sts-dev.csv").write_text("id\n")
    assert run(*CALM, "--ranks", "2") == 2
    assert "sts-dev.csv" in complaint(capsys)
    assert written() == {}

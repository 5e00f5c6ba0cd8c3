"""SIGKILL at any moment: a resumed main job ends in the same bytes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from minbert.experiments.faults.operations import Operation, watch
from tests.finetune.job.conftest import Start
from tests.finetune.job.running import MAIN, SHORT, SIX, in_process, manifest, steps_logged, written

LONG = (
    *(*MAIN, "--weights", "encoder", "--epochs", "4", "--lr", "1e-3", "--checkpoint_every", "2"),
    *("--seed", "5", "--smart_dropout", "shared"),
)


def killing_itself(lines: int, delay: float, folder: Path, argv: Sequence[str]) -> None:
    """`in_process`, ended by SIGKILL `delay` seconds after its log has so many lines.

    A thread of the process itself does it: one in another process could be kept waiting by a busy
    machine until the run is over.
    """
    Thread(target=kill, args=(folder / "out" / "log.jsonl", lines, delay), daemon=True).start()
    in_process(folder, argv)


def kill(log: Path, lines: int, delay: float) -> None:
    while not log.exists() or log.read_bytes().count(b"\n") < lines:
        time.sleep(0.002)
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGKILL)


def check_kills(place: Path, start: Start, kills: int) -> None:
    """Killed again and again, resumed each time: the bytes are those of the run left in peace."""
    rng = random.Random(kills)
    calm, hit = place / "calm", place / "hit"
    for folder in (calm, hit):
        folder.mkdir()
        (folder / "data").symlink_to(place / "data")
        (folder / "encoder").symlink_to(place / "encoder")
    argv = (*LONG, "--output_dir", "out")
    process = start(calm, *argv)
    process.join()
    assert process.exitcode == 0, (calm / "printed.txt").read_text()
    total = len(steps_logged(calm / "out"))
    assert total == 24
    targets = sorted(rng.sample(range(1, total), kills - 1))
    landed = 0
    for number, lines in enumerate([*targets, total]):
        resume = ("--resume",) if number else ()
        delay = rng.uniform(0, 0.2 if lines == total else 0.02)
        process = start(hit, *argv, *resume, work=partial(killing_itself, lines, delay))
        process.join()
        landed += process.exitcode == -signal.SIGKILL
    assert landed >= kills - 1  # the last may come too late
    process = start(hit, *argv, "--resume")
    process.join()
    said = (hit / "printed.txt").read_text()
    assert process.exitcode == 0, said
    assert "resumed at step" in said
    assert written(hit / "predictions").keys() >= set(SIX)
    for name in SIX:
        ours, expected = (each / "predictions" / name for each in (hit, calm))
        assert ours.read_bytes() == expected.read_bytes(), name
    assert [line["step"] for line in steps_logged(hit / "out")] == list(range(total))
    again, before = (manifest(each / "out") for each in (hit, calm))
    assert again["dev"] == before["dev"] and again["best_epoch"] == before["best_epoch"]


def test_killed_run_resumes_to_the_same_bytes(place: Path, start: Start) -> None:
    check_kills(place, start, kills=3)


@pytest.mark.slow
def test_run_killed_many_times_resumes_to_the_same_bytes(place: Path, start: Start) -> None:
    check_kills(place, start, kills=15)


def killed_among_the_files(operation: int, folder: Path, argv: Sequence[str]) -> None:
    """`in_process`, ended by SIGKILL at such an operation on the names of prediction files."""
    left = count(-operation)

    def watcher(seen: Operation) -> Any:
        is_counted = seen.kind in ("remove", "rename") and Path(seen.path).exists()
        if is_counted and next(left) == -1:
            os.kill(os.getpid(), signal.SIGKILL)
        return seen.perform()

    watch(folder / "predictions", watcher)
    in_process(folder, argv)


def check_files(place: Path, start: Start, operations: Sequence[int]) -> None:
    """A kill between the renames mixes no two runs, and the next start leaves one run's files."""
    one, two = ((*MAIN, *SHORT, "--seed", seed, "--output_dir", f"out{seed}") for seed in "12")
    files = []
    for argv in (one, two):
        start(place, *argv).join()
        files.append(written(place / "predictions"))
    assert all(files[0][name] != files[1][name] for name in SIX if "sts" in name)
    for operation in operations:
        for resume in ((), ("--resume",)):
            start(place, *one, "--resume").join()
            assert written(place / "predictions") == files[0]
            process = start(place, *two, work=partial(killed_among_the_files, operation))
            process.join()
            assert process.exitcode == -signal.SIGKILL
            left = {n: b for n, b in written(place / "predictions").items() if n in SIX}
            assert any(left.items() <= whole.items() for whole in files), operation
            start(place, *two, *resume).join()
            assert written(place / "predictions") == files[1]  # and no draft beside them


@pytest.mark.slow
def test_a_kill_among_the_prediction_files_mixes_no_two_runs(place: Path, start: Start) -> None:
    rng = random.Random(8)
    check_files(place, start, [rng.randrange(7, 19)])


@pytest.mark.slow
def test_kills_all_along_the_prediction_files_mix_no_two_runs(place: Path, start: Start) -> None:
    check_files(place, start, range(1, 19, 4))

"""SIGKILL at any moment: a resumed main job ends in the same bytes."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from minbert.finetune import cli
from tests.finetune.job.running import MAIN, SIX, manifest, steps_logged, written

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

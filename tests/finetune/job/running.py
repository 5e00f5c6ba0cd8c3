"""Run the main job in the current folder, and read what it left."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from minbert.finetune import cli
from minbert.training import loop
from minbert.training.plan import Trainee
from tests.helpers import TINY, no_report, save_encoder, write_course_files

COURSE_TASKS = ("sst", "para", "sts")
SIX = tuple(f"{task}-{split}-output.csv" for task in COURSE_TASKS for split in ("dev", "test"))
MAIN = ("--option", "finetune", "--rrobin", "--smart")
SHORT = ("--weights", "encoder", "--output_dir", "out", "--epochs", "2", "--lr", "1e-3")


def make_place(folder: Path) -> None:
    """Write a tiny encoder and the course's files in `data/`, the same ones at every call."""
    torch.manual_seed(0)
    save_encoder(folder / "encoder", TINY)
    write_course_files(folder / "data", tasks=(*COURSE_TASKS, "cfimdb"))


def run(*argv: str) -> int:
    return cli.main([*SHORT, *argv])


def go_on(*argv: str) -> None:
    """Run with --resume, to the end. One that began afresh would set the earlier run aside."""
    aside = set(Path().glob("*.old*"))
    assert run(*argv, "--resume") == 0
    assert set(Path().glob("*.old*")) == aside


def in_process(folder: Path, argv: Sequence[str]) -> None:
    """The whole life of a process that runs the command line in `folder`, as a shell would.

    What it prints is added to `printed.txt` there.
    """
    os.chdir(folder)
    torch.set_num_threads(1)
    with (folder / "printed.txt").open("a") as stream:
        os.dup2(stream.fileno(), sys.stderr.fileno())
        sys.stdout, cli.leave_report = stream, no_report
        sys.exit(cli.main(argv))


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


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int, number: int) -> None:
    """Send this process a signal in the middle of a step, once."""
    make_step, seen = loop.train_step, []

    def hit(*arguments):
        seen.append(0)
        if len(seen) == step:
            os.kill(os.getpid(), number)
        make_step(*arguments)

    monkeypatch.setattr(loop, "train_step", hit)


def spoil_after(
    monkeypatch: pytest.MonkeyPatch, step: int, spoil: Callable[[Trainee[Any, Any]], None]
) -> None:
    """Let `spoil` change what trains when so many steps have been made, once."""
    make_step, seen = loop.train_step, []

    def hit(trainee, *arguments):
        make_step(trainee, *arguments)
        seen.append(0)
        if len(seen) == step:
            spoil(trainee)

    monkeypatch.setattr(loop, "train_step", hit)

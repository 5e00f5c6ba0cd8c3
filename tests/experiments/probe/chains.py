"""A place to run chains in, steps in this process, for several test files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minbert.experiments.grid import runner
from minbert.experiments.grid.cells import Cell
from minbert.experiments.probe.process import run_step
from minbert.experiments.probe.steps import Step
from minbert.support.errors import RunError
from minbert.support.signals import StopRequest
from tests.experiments.grids import Place


class Ended:
    """The process of a step that has run."""

    def __init__(self, code: int) -> None:
        self._code = code

    def poll(self) -> int:
        return self._code


def in_process(monkeypatch: pytest.MonkeyPatch, made: list[Step] | None = None) -> None:
    """Run steps here: a process for each takes seconds to start. Those that end are in `made`."""

    def launch(cell: Cell, out: Path, _threads: int) -> Ended:
        assert isinstance(cell, Step)
        folder = cell.folder(out)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            run_step(cell, out, os.getppid(), StopRequest())
        except RunError as error:
            (folder / "log.txt").write_text(f"error: {error}\n")
            return Ended(1)
        if made is not None:
            made.append(cell)
        return Ended(0)

    monkeypatch.setattr(runner, "launch", launch)
    monkeypatch.setattr(runner, "_LOOK", 0.0)


def command(place: Place, *more: str, out: Path | None = None) -> list[str]:
    """A chain of two tasks, probed by three."""
    small = ["--chain", "sst,para", "--probe_tasks", "para,sts"]
    where = ["--out", str(out or place.out)]
    return ["probe", *small, *where, *more, "--", *place.extra]

"""A grid of two cells, whose runner or cells are killed; cells are forked like the rest."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from minbert.experiments.faults.strikes import Scene
from minbert.experiments.grid import cell as cell_module
from minbert.experiments.grid import runner
from minbert.experiments.grid.cells import RESULT, Cell

ENTRY = "minbert.experiments"
COMMAND = [
    "ablate",
    "--over",
    "lr=1e-3,2e-3",
    "--seeds",
    "1",
    "--epochs",
    "2",
    "--workers",
    "2",
    "--out",
    "grid",
    "--",
    "--rrobin",
    "--weights",
    "encoder",
    "--data_dir",
    "data",
    "--batch_size",
    "6",
    "--checkpoint_every",
    "2",
    "--device",
    "cpu",
]
_FORK = multiprocessing.get_context("fork")


def fork_cells(scene: Scene) -> None:
    """Let the runner of this process fork its cells, which know which one they are."""
    started: list[Forked] = []

    def launch(cell: Cell, out: Path, _threads: int) -> Forked:
        folder, name = cell.folder(out), f"cell {len(started) + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        arguments = [str(out), json.dumps(asdict(cell)), str(os.getpid())]
        started.append(Forked(partial(_live, scene, name, folder, arguments)))
        return started[-1]

    runner.__dict__["launch"] = launch


class Forked:
    """A fork of this process that does `work`, with the interface that a grid's runner expects."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._process = _FORK.Process(target=work)
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired("cell", timeout or 0.0)
        return code

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _live(scene: Scene, name: str, folder: Path, arguments: list[str]) -> None:
    os.setsid()
    scene.enter(name)
    with (folder / cell_module.LOG).open("a") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    sys.exit(cell_module.main(arguments))


def results(place: Path) -> dict[str, Any]:
    """What the cells have come to: dev scores, and the hash of the dev predictions."""
    found: dict[str, Any] = {}
    for path in (place / "grid" / "cells").glob(f"*/{RESULT}"):
        record = json.loads(path.read_text(encoding="utf-8"))
        found[path.parent.name] = (record["sha256"], record["manifest"]["dev"])
    return found

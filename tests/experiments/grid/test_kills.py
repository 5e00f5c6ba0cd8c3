"""Kills at random moments: at the end every cell has one result, and every result is whole.

Runners and cells are the real ones, in processes forked from this one, where nothing needs to be
imported. The main job of a cell is a made-up one of a few milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tqdm import tqdm

from minbert.experiments.faults.grids import Forked
from minbert.experiments.grid import cell as cell_module
from minbert.experiments.grid import runner as runner_module
from minbert.experiments.grid.cell import LOG, leftovers
from minbert.experiments.grid.cells import DEV, FAILURE, RESULT, RUN, Cell
from minbert.experiments.grid.runner import Runner
from minbert.finetune.job import Result
from minbert.support import claims, durable_files, processes
from minbert.support.errors import Stopped
from minbert.support.signals import StopRequest
from minbert.training.run_folder import MANIFEST, held

FORK = get_context("fork")
CELLS = [Cell(f"row {key}", 1, key, key) for key in "abcdefgh"]
STEPS, EXAMPLES = 20, 20_000


def forked(out: Path, log: Path, work: Callable[[], object]) -> Forked:
    """A process of the grid in `out` that does `work`, with its output in the file `log`."""
    return Forked(partial(_do, out, log, work))


def _do(out: Path, log: Path, work: Callable[[], object]) -> None:
    (out / "processes" / f"{os.getpid()} {processes.started_at(os.getpid())}").touch()
    sys.stdout = sys.stderr = log.open("a", buffering=1)
    os._exit(int(work() or 0))


def start_cell(cell: Cell, out: Path) -> Forked:
    cell.folder(out).mkdir(parents=True, exist_ok=True)
    arguments = [str(out), json.dumps(asdict(cell)), str(os.getpid())]
    return forked(out, cell.folder(out) / LOG, lambda: cell_module.main(arguments))


def start_runner(out: Path) -> Forked:
    return forked(out, out / "runner.txt", lambda: Runner(CELLS, out, 2, start_cell).run("grid"))


def revived(runners: list[Forked], out: Path) -> list[Forked]:
    return [start_runner(out) if one.poll() is not None else one for one in runners]


def alive(out: Path) -> list[int]:
    """The processes of this grid that have not ended."""
    known = [entry.name.split() for entry in (out / "processes").iterdir()]
    return [int(pid) for pid, started in known if processes.started_at(int(pid)) == started]


def made_up_job(folder: Path, stop: StopRequest) -> Result:
    """A run of a few steps that goes on from its last checkpoint, and says which process it was."""
    with held(folder):  # where another is at it: an InputError, so that the cell fails
        (folder / MANIFEST).touch()
        with stop.deferred():
            for step in range(len(list(folder.glob("step-*"))), STEPS):
                time.sleep(0.005)
                if stop.signum is not None:
                    raise Stopped(stop.signum)
                (folder / f"step-{step}").mkdir()
        return Result(folder, {"sst": 0.5}, {"process": os.getpid()})


def made_up_run(_folder: Path) -> SimpleNamespace:
    """Predictions that say which process made them."""
    return SimpleNamespace(
        predictions={"sst": np.full(EXAMPLES, os.getpid())},
        split=lambda _: SimpleNamespace(examples=[SimpleNamespace(id="id")] * EXAMPLES),
        labels=lambda _: np.ones(EXAMPLES),
    )


def created_and_noted(path: Path, text: str) -> bool:
    made = claims.created(path, text)
    if made:
        with (path.parent / "published").open("a") as stream:
            stream.write("once\n")
    return made


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up jobs, and processes that look about them often."""
    monkeypatch.setattr(cell_module, "configuration", lambda command: command)
    monkeypatch.setattr(cell_module, "key_of", lambda command: command)
    monkeypatch.setattr(cell_module, "_further", lambda _: [])
    monkeypatch.setattr(cell_module, "_writing_into", lambda folder, _: folder / RUN)
    monkeypatch.setattr(cell_module, "job", SimpleNamespace(run=made_up_job, Result=Result))
    monkeypatch.setattr(cell_module, "FinishedRun", SimpleNamespace(read=made_up_run))
    monkeypatch.setattr(cell_module, "created", created_and_noted)
    # else a lock between the forked processes, which a killed one leaves behind
    monkeypatch.setattr(tqdm, "_lock", threading.RLock(), raising=False)
    monkeypatch.setattr(claims, "_LOOK", 0.02)
    monkeypatch.setattr(runner_module, "_LOOK", 0.01)


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """A grid's folder, of which no process is left after the test."""
    (tmp_path / "processes").mkdir()
    yield tmp_path
    kill(alive(tmp_path))


def kill(processes: Iterable[int]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


@pytest.mark.usefixtures("made_up")
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_after_twenty_kills_every_cell_has_one_result_and_every_result_is_whole(out: Path) -> None:
    """Two runners, of two processes each: SIGKILL to a runner, to a cell, or to all at once."""
    draw = random.Random(0)
    runners = [start_runner(out) for _ in range(2)]
    for _ in range(20):
        time.sleep(draw.uniform(0, 0.15))
        while not (work := alive(out)):
            runners = revived(runners, out)
        kill(draw.choice([work, [draw.choice(work)]]))
        runners = revived(runners, out)
    for one in runners:
        one.wait(60)
    last = Runner(CELLS, out, 2, start_cell)
    last.run("the last")
    assert not last.failed
    for cell in CELLS:
        check_result(cell.folder(out))


def check_result(folder: Path) -> None:
    if (folder / FAILURE).exists():  # of a runner that saw its cell die, and no other one
        assert "killed by SIGKILL" in (folder / FAILURE).read_text()
    assert "another run is using it" not in (folder / LOG).read_text(), "two were at it at once"
    assert not leftovers(folder)
    published = folder / "published"  # missing or empty where a kill came right after the result
    assert not published.exists() or published.read_text() in ("", "once\n")
    record = json.loads((folder / RESULT).read_text())
    assert record["sha256"] == durable_files.sha256_of(folder / DEV)
    with np.load(folder / DEV) as dev:
        assert set(dev["sst_predictions"]) == {record["manifest"]["process"]}

"""The runner: every cell once, whatever is killed; a failure stays alone."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest

from minbert.experiments.grid import runner as module
from minbert.experiments.grid.cell import LOG, launch
from minbert.experiments.grid.cells import CLAIMS, DEV, FAILURE, RESULT, RUN, Cell, plan
from minbert.experiments.grid.experiment import GridRow, Scale
from minbert.experiments.grid.results import CellResult
from minbert.experiments.grid.runner import Runner
from minbert.support import durable_files
from minbert.support.claims import TAKEN, is_free, take
from minbert.support.errors import RunError
from tests.experiments.grids import Place, experiment
from tests.forked import ForkedCell
from tests.hostile_files import HOSTILE_JSON, put

GOOD = GridRow("good", ("--option finetune",))
BAD = GridRow("bad", ("--option finetune --lr 1e30 --rrobin",))  # not finite after the first step


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place.make(tmp_path_factory.mktemp("grid"))


def cells_of(place: Place, *rows: GridRow, seeds: int = 1, epochs: int = 1) -> list[Cell]:
    return plan(experiment(*rows), Scale(epochs, None, 1), seeds, place.extra)


@pytest.fixture(scope="module")
def ran(place: Place, forking: ForkServerContext) -> tuple[Runner, Cell, Cell]:
    """A grid of two, one of which fails, after two workers were at it."""
    good, bad = cells_of(place, GOOD, BAD)
    runner = Runner([good, bad], place.out, 2, partial(ForkedCell, forking))
    runner.run("grid")
    return runner, good, bad


def test_a_cell_leaves_its_result_and_no_weights(
    place: Place, ran: tuple[Runner, Cell, Cell]
) -> None:
    found = CellResult.read(ran[1], place.out)
    assert found is not None
    assert found.manifest["status"] == "finished"
    assert set(found.scores) == {"sst", "para", "sts"}
    right = found.dev["sst_predictions"] == found.dev["sst_labels"]
    assert np.mean(right) == pytest.approx(found.scores["sst"])
    assert len(found.dev["sst_ids"]) == 20
    assert found.seconds > 0
    folder = ran[1].folder(place.out)
    assert not list(folder.rglob("*.safetensors"))
    assert len(list((folder / "predictions").iterdir())) == 6


def test_a_failure_is_named_and_alone(place: Place, ran: tuple[Runner, Cell, Cell]) -> None:
    runner, _, bad = ran
    assert list(runner.failed) == [bad.key]
    assert "is nan" in runner.failed[bad.key] or "not finite" in runner.failed[bad.key]
    assert (
        json.loads((bad.folder(place.out) / FAILURE).read_text())["why"] in runner.failed.values()
    )
    assert is_free(bad.folder(place.out) / CLAIMS)


def test_what_is_done_is_not_run_again(place: Place, ran: tuple[Runner, Cell, Cell]) -> None:
    folder = ran[1].folder(place.out)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    Runner([ran[1]], place.out, workers=1).run("again")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_failure_elsewhere_since_the_start_counts(
    place: Place, ran: tuple[Runner, Cell, Cell]
) -> None:
    bad = ran[2]
    runner = Runner([bad], place.out, workers=1)
    os.utime(bad.folder(place.out) / FAILURE)
    attempts = len(list((bad.folder(place.out) / CLAIMS).glob("*.json")))
    runner.run("beside")
    assert list(runner.failed) == [bad.key]
    assert len(list((bad.folder(place.out) / CLAIMS).glob("*.json"))) == attempts


def test_a_damaged_result_is_noticed(
    place: Place, ran: tuple[Runner, Cell, Cell], tmp_path: Path
) -> None:
    found = CellResult.read(ran[1], place.out)
    assert found is not None
    cell = Cell("x", 1, "", "key")
    copy = cell.folder(tmp_path)
    copy.mkdir(parents=True)
    (copy / RESULT).write_bytes((found.folder / RESULT).read_bytes())
    for dev in (b"", (found.folder / DEV).read_bytes()[:-1]):
        (copy / DEV).write_bytes(dev)
        with pytest.raises(RunError, match="damaged"):
            CellResult.read(cell, tmp_path)
    for text in ("{", "{}", "[]", '{"sha256": "", "manifest": {"dev": 3, "epochs": []}}'):
        (copy / RESULT).write_text(text)
        with pytest.raises(RunError, match="damaged"):
            CellResult.read(cell, tmp_path)


@pytest.mark.parametrize("kind", HOSTILE_JSON)
def test_a_hostile_result_is_damaged_and_a_hostile_failure_none(tmp_path: Path, kind: str) -> None:
    cell = Cell("x", 1, "", "key")
    cell.folder(tmp_path).mkdir(parents=True)
    put(cell.folder(tmp_path) / RESULT, kind)
    with pytest.raises(RunError, match="damaged") as refused:
        CellResult.read(cell, tmp_path)
    assert "\n" not in str(refused.value)
    put(cell.folder(tmp_path) / FAILURE, kind)
    assert cell.failure(tmp_path) is None


def test_a_cell_that_another_holds_is_waited_for(place: Place, tmp_path: Path) -> None:
    """Its holder gives the result while the runner waits."""
    (cell,) = cells_of(place, GOOD)
    claim = take(cell.folder(tmp_path) / CLAIMS)
    assert claim is not None
    source = cell.folder(place.out)
    started: list[Cell] = []

    def start(one: Cell, out: Path) -> subprocess.Popen[bytes]:
        started.append(one)
        return launch(one, out, 1)

    runner = Runner([cell], tmp_path, 1, start)
    look = runner._fill

    def fill() -> None:
        look()
        (cell.folder(tmp_path) / RESULT).write_bytes((source / RESULT).read_bytes())

    runner._fill = fill  # type: ignore[method-assign]
    runner.run("waiting")
    assert not started
    assert not runner.failed


def test_code_that_has_changed_meanwhile_is_refused(
    place: Place, tmp_path: Path, forking: ForkServerContext
) -> None:
    cell = Cell("good", 11711, f"--option finetune {' '.join(place.extra)} --seed 11711", "0" * 16)
    runner = Runner([cell], tmp_path, 1, partial(ForkedCell, forking))
    runner.run("old plan")
    assert "changed since the grid was planned" in runner.failed[cell.key]


# ----------------------------------------------------------------------- cells of made-up jobs


class Ended:
    """A process that has ended, with this code."""

    def __init__(self, code: int) -> None:
        self.code = code

    def poll(self) -> int:
        return self.code

    def wait(self, timeout: float | None = None) -> int:
        return self.code

    def terminate(self) -> None:
        raise AssertionError("it has ended")

    kill = terminate


LOST, FINE = Cell("lost", 1, "", "lost"), Cell("fine", 1, "", "fine")


def finishes(cell: Cell, out: Path) -> Ended:
    cell.folder(out).mkdir(parents=True, exist_ok=True)
    (cell.folder(out) / RESULT).touch()
    return Ended(0)


def run_both(out: Path, start: Callable[[Cell, Path], Ended]) -> dict[str, str]:
    """What fails of a cell that this starts and of one that is fine."""
    runner = Runner([LOST, FINE], out, 1, lambda *to: (start if to[0] is LOST else finishes)(*to))
    runner.run("grid")
    assert (FINE.folder(out) / RESULT).exists()
    return runner.failed


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.001)


@pytest.mark.usefixtures("quick")
def test_a_job_that_ends_without_a_log_fails_alone(tmp_path: Path) -> None:
    assert run_both(tmp_path, lambda *_: Ended(1)) == {"lost": "exit code 1"}
    assert json.loads((LOST.folder(tmp_path) / FAILURE).read_text()) == {"why": "exit code 1"}


@pytest.mark.usefixtures("quick")
def test_a_cell_that_cannot_be_started_fails_alone(tmp_path: Path) -> None:
    def start(_cell: Cell, _out: Path) -> Ended:
        raise OSError(errno.ENOMEM, "no memory")

    assert run_both(tmp_path, start) == {"lost": "cannot be started ([Errno 12] no memory)"}
    assert not (LOST.folder(tmp_path) / FAILURE).exists()  # others may try


@pytest.mark.usefixtures("quick")
def test_a_failure_that_a_full_disk_cannot_hold_stays_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(durable_files, "write_json", full)
    assert run_both(tmp_path, lambda *_: Ended(-signal.SIGKILL)) == {
        "lost": "killed by SIGKILL; out of memory?"
    }
    assert f"{LOST.folder(tmp_path) / FAILURE}: cannot be written (no space left)" in caplog.text


@pytest.mark.usefixtures("quick")
def test_a_cell_that_another_took_over_is_no_failure(tmp_path: Path) -> None:
    codes = [0, TAKEN]

    def start(cell: Cell, out: Path) -> Ended:
        return Ended(code) if (code := codes.pop()) else finishes(cell, out)

    assert run_both(tmp_path, start) == {}
    assert not codes


@pytest.mark.usefixtures("quick")
def test_a_result_with_weights_beside_it_is_tidied(tmp_path: Path) -> None:
    """Of a process that was killed between the two."""
    for cell in (LOST, FINE):
        finishes(cell, tmp_path)
    weights = LOST.folder(tmp_path) / RUN / "step-0001"
    weights.mkdir(parents=True)

    def start(_cell: Cell, _out: Path) -> Ended:
        weights.rmdir()
        return Ended(0)

    assert run_both(tmp_path, start) == {}
    assert not weights.exists()


# ------------------------------------------------------------------------------------- kills

COMMAND = """\
import json, sys
from pathlib import Path
from minbert.experiments.grid.cells import Cell
from minbert.experiments.grid.runner import Runner
from minbert.support.command import run_command
cells = [Cell(**one) for one in json.loads(sys.argv[2])]
sys.exit(run_command(lambda _: Runner(cells, Path(sys.argv[1]), 2).run("grid")))
"""


def start_runner(cells: list[Cell], out: Path) -> subprocess.Popen[bytes]:
    text = json.dumps([asdict(cell) for cell in cells])
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(out), text], stderr=subprocess.DEVNULL
    )


def processes_of(out: Path) -> list[int]:
    """Cells' processes at work in this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"minbert.experiments.grid.cell" in words and str(out).encode() in words:
                found.append(int(path.parent.name))
    return found


@pytest.mark.slow  # 20 kills, each followed by imports: ten minutes
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_twenty_kills_lose_nothing_and_repeat_nothing(place: Place, tmp_path: Path) -> None:
    """SIGKILL to the runner, to a cell, or to all at once, at random moments of the work."""
    smart = GridRow("smart", ("--option finetune --smart --rrobin",))
    cells = cells_of(place, GOOD, smart, seeds=5, epochs=20)
    calm, out, draw = tmp_path / "calm", tmp_path / "out", random.Random(0)
    began = time.monotonic()
    Runner(cells, calm, workers=2).run("calm")
    whole = time.monotonic() - began
    for _ in range(20):
        runner = start_runner(cells, out)
        time.sleep(draw.uniform(0, whole / 5))
        work = [runner.pid, *processes_of(out.resolve())]
        for pid in draw.choice([work, work[:1], [draw.choice(work)]]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(draw.uniform(0, 2))
        runner.kill()
        runner.wait()
    claims = len(list(out.glob(f"cells/*/{CLAIMS}/*.json")))
    done = len(list(out.glob(f"cells/*/{RESULT}")))
    assert claims - done >= 5, "most kills found nobody at work"
    last = Runner(cells, out, workers=2)
    last.run("the last")
    assert not last.failed
    for cell in cells:
        folder, found = cell.folder(out), CellResult.read(cell, out)
        assert found is not None
        assert found.dev
        after = (folder / LOG).stat().st_mtime - (folder / RESULT).stat().st_mtime
        assert after < 1, "worked on after its result"
        lines = (folder / RUN / "log.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in lines]
        assert steps == list(range(len(steps)))
        for one in (folder / "predictions").iterdir():
            undisturbed = cell.folder(calm) / "predictions" / one.name
            assert one.read_bytes() == undisturbed.read_bytes()


@pytest.mark.slow  # imports torch five times
def test_a_stopped_runner_stops_its_cells(place: Place, tmp_path: Path) -> None:
    cells = cells_of(place, GridRow("long", ("--option finetune --smart --rrobin",)), epochs=9999)
    runner = start_runner(cells, tmp_path)
    log = cells[0].folder(tmp_path) / "run" / "log.jsonl"
    until = time.monotonic() + 120
    while not (log.exists() and log.stat().st_size) and time.monotonic() < until:
        time.sleep(0.1)
    runner.terminate()
    assert runner.wait(60) == 128 + signal.SIGTERM
    assert not processes_of(tmp_path.resolve())
    assert is_free(cells[0].folder(tmp_path) / CLAIMS)
    assert list((cells[0].folder(tmp_path) / "run").glob("step-*"))  # it can go on

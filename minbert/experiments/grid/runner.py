"""The runner, which brings every cell of a grid to its result by several processes.

Any number of runners may work on one grid, here and elsewhere. They share nothing but the folder.
Each starts whatever cell is free, waits for cells that others work on, and takes over those whose
process died. So the same command, started again on this machine or another, goes on with the grid.
"""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from minbert.experiments.grid.cell import LOG, launch, leftovers
from minbert.experiments.grid.cells import CLAIMS, FAILURE, RESULT, RUN, Cell
from minbert.experiments.grid.pace import Pace, share_done
from minbert.support import durable_files
from minbert.support.claims import TAKEN, is_free, server_time
from minbert.support.console import ProgressBar, log
from minbert.support.device import cores
from minbert.support.errors import InputError

_LOOK = 0.5  # seconds between two looks at the folder and the processes
_PATIENCE = 120.0  # seconds that a stopped cell has to write its checkpoint


class Process(Protocol):
    """A cell's process, here or on a cluster: what is needed of `subprocess.Popen`."""

    def poll(self) -> int | None:
        """Return the exit code, or None before the end."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code. Raises subprocess.TimeoutExpired."""
        ...

    def terminate(self) -> None:
        """Ask the process to write a checkpoint and end."""
        ...

    def kill(self) -> None:
        """End the process at once."""
        ...


Launch = Callable[[Cell, Path], Process]


@dataclass(frozen=True)
class _Running:
    cell: Cell
    process: Process
    log_start: int  # bytes that earlier processes wrote

    def message(self, code: int, out: Path) -> str:
        """Return in one line why the process failed."""
        lines = []
        with (
            contextlib.suppress(OSError),  # a job may be lost before it has a log
            (self.cell.folder(out) / LOG).open("rb") as stream,
        ):
            stream.seek(self.log_start)
            lines = stream.read().decode(errors="replace").splitlines()
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        if errors:
            return errors[-1]
        if code < 0:
            memory = "; out of memory?" if -code == signal.SIGKILL else ""
            return f"killed by {signal.Signals(-code).name}{memory}"
        return lines[-1] if lines else f"exit code {code}"


class Runner:
    """One command's work on its cells, and what became of it."""

    def __init__(
        self,
        cells: Sequence[Cell],
        out: Path,
        workers: int,
        start: Launch | None = None,
        ended: Callable[[], object] = lambda: None,
    ) -> None:
        """Let `start` start a cell's process, by default as a child of this one.

        `ended` is called whenever a process has ended. A cell waits for those that it `needs`.
        Raises InputError where nothing can be written into `out`.
        """
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._began = server_time(out)
        except OSError as error:
            raise InputError(f"--out {out}: cannot be written ({error.strerror})") from error
        self._out, self._workers = out.resolve(), workers
        threads = max(1, cores() // workers)
        self._start = start or (lambda cell, out: launch(cell, out, threads))
        self._pending = list({cell.key: cell for cell in cells}.values())
        self._running: list[_Running] = []
        self._pace, self._ended = Pace(workers), ended
        self.failed: dict[str, str] = {}  # key -> why

    def run(self, title: str) -> None:
        """Return when every cell has its result or has failed. A signal stops all processes."""
        total = sum(cell.cost for cell in self._pending)
        count, self._pending = len(self._pending), self._still_to_run(self._pending)
        if done := count - len(self._pending):
            log.info("%s: %d of %d runs are done already", title, done, count)
        before = _percent(total, self._pending)
        with (
            ProgressBar(100, title, "%", done=before, estimated=True) as bar,
            self._stopping(),
        ):
            while self._pending or self._running:
                self._reap()
                self._pending, waited = self._still_to_run(self._pending), len(self._pending)
                self._pace.made_elsewhere(waited - len(self._pending))
                self._fill()
                open_cells = [*self._pending, *(running.cell for running in self._running)]
                done = _percent(total, open_cells) - bar.done
                bar.update(done, self._status(count, open_cells), self._time_left())
                time.sleep(_LOOK)

    def _time_left(self) -> float | None:
        """Look how far the runs at work are; return the seconds that all will take."""
        now = time.monotonic()
        for running in self._running:
            self._pace.look(running.cell, self._share_done(running.cell), now)
        return self._pace.left(self._pending, now)

    def _share_done(self, cell: Cell) -> float:
        return share_done(cell.folder(self._out) / RUN)

    def _still_to_run(self, cells: Sequence[Cell]) -> list[Cell]:
        """Cells with no result yet, or with checkpoints of a process killed before cleaning up."""
        folders = [(cell, cell.folder(self._out)) for cell in cells]
        return [
            cell for cell, folder in folders if not (folder / RESULT).exists() or leftovers(folder)
        ]

    def _reap(self) -> None:
        """Forget processes that have ended; their cells have a result, failed, or wait again."""
        still = []
        for running in self._running:
            code, cell = running.process.poll(), running.cell
            if code is None:
                still.append(running)
                continue
            whole = code != TAKEN and (cell.folder(self._out) / RESULT).exists()
            self._pace.stopped(cell, time.monotonic(), whole=whole)
            if code == TAKEN:
                self._pending.append(cell)
            elif not whole:
                self._fail(cell, running.message(code, self._out))
                self._tell_others(cell)
        if len(still) < len(self._running):
            self._ended()
        self._running = still

    def _obstacle(self, cell: Cell) -> str | None:
        """Why the cell cannot be made: another runner's attempt, or what it needs has failed."""
        if any(key in self.failed for key in cell.needs):
            return "what it needs has failed"
        return cell.failure(self._out, self._began)

    def _must_wait(self, cell: Cell) -> bool:
        folders = (self._out / "cells" / key for key in cell.needs)
        return not all((folder / RESULT).exists() for folder in folders)

    def _fail(self, cell: Cell, why: str) -> None:
        self.failed[cell.key] = why
        log.error("failed: %s: %s", cell.name, why)

    def _tell_others(self, cell: Cell) -> None:
        path = cell.folder(self._out) / FAILURE
        try:
            durable_files.write_json(path, {"why": self.failed[cell.key]})
        except OSError as error:  # a full disk, which may have been the reason
            log.warning("%s: cannot be written (%s)", path, error.strerror)

    def _fill(self) -> None:
        """Start as many free cells as there are idle workers."""
        for cell in list(self._pending):
            if len(self._running) >= self._workers:
                return
            folder = cell.folder(self._out)
            why = self._obstacle(cell)
            if why is None and self._must_wait(cell):
                continue
            try:
                if why is None and is_free(folder / CLAIMS):
                    path = folder / LOG
                    log_start = path.stat().st_size if path.exists() else 0
                    process = self._start(cell, self._out)
                    self._running.append(_Running(cell, process, log_start))
                    self._pace.started(cell, self._share_done(cell), time.monotonic())
                    self._pending.remove(cell)
            except OSError as error:  # of this machine: others may have more luck
                why = f"cannot be started ({error})"
            if why is not None:
                self._pending.remove(cell)
                self._fail(cell, why)

    def _status(self, count: int, open_cells: Sequence[Cell]) -> dict[str, str]:
        done = count - len(open_cells) - len(self.failed)
        shown = {"done": f"{done}/{count}"}
        if self.failed:
            shown["failed"] = str(len(self.failed))
        if names := [running.cell.name for running in self._running]:
            shown["running"] = " and ".join(names)
        return shown

    @contextlib.contextmanager
    def _stopping(self) -> Iterator[None]:
        """Stop all processes of this runner at the end of the block, however it ends."""
        try:
            yield
        finally:
            processes = [running.process for running in self._running]
            for process in processes:
                process.terminate()
            until = time.monotonic() + _PATIENCE
            try:
                for process in processes:
                    process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("a run does not stop, and is killed")
            for process in processes:
                process.kill()


def _percent(total: float, still_open: Sequence[Cell]) -> int:
    return int(100 * (1 - sum(cell.cost for cell in still_open) / total))

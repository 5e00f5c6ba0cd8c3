"""Every cell of a grid to its result, by several processes here and any number elsewhere.

Runners share nothing but the folder. Each takes whatever cell is free, waits for those that others
are at, and takes over from those that died; so starting a command again goes on with it, on this
machine or another.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from minbert.experiments.grid.cell import LOG, cores, launch, leftovers
from minbert.experiments.grid.cells import CLAIMS, FAILURE, RESULT, Cell
from minbert.experiments.grid.claims import TAKEN, is_free, server_time
from minbert.support import durable_files
from minbert.support.console import ProgressBar, log
from minbert.support.errors import InputError

_LOOK = 0.5  # seconds between two looks at the folder and the processes
_PATIENCE = 120.0  # seconds that a stopped cell has to write its checkpoint


class Process(Protocol):
    """A cell's process, here or on a cluster; as `subprocess.Popen`."""

    def poll(self) -> int | None:
        """The exit code, None before the end."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises subprocess.TimeoutExpired."""
        ...

    def terminate(self) -> None:
        """Ask it to write a checkpoint and end."""
        ...

    def kill(self) -> None:
        """End it."""
        ...


Launch = Callable[[Cell, Path], Process]


@dataclass(frozen=True)
class _Running:
    cell: Cell
    process: Process
    log_start: int  # bytes that earlier processes wrote

    def message(self, code: int, out: Path) -> str:
        """Why it failed, in one line."""
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
    """The state of one command's work on its cells."""

    def __init__(
        self, cells: Sequence[Cell], out: Path, workers: int, start: Launch | None = None
    ) -> None:
        """`start` brings a cell's process to life; default: as a child of this one.

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
        self.failed: dict[str, str] = {}  # key -> why

    def run(self, title: str) -> None:
        """Return when every cell has its result or has failed. A signal stops all processes."""
        total = sum(cell.cost for cell in self._pending)
        count, self._pending = len(self._pending), self._not_done(self._pending)
        if done := count - len(self._pending):
            log.info("%s: %d of %d runs are done already", title, done, count)
        before = _percent(total, self._pending)
        with ProgressBar(100, title, "%", done=before) as bar, self._stopping():
            while self._pending or self._running:
                self._reap()
                self._pending = self._not_done(self._pending)
                self._fill()
                open_cells = [*self._pending, *(one.cell for one in self._running)]
                bar.update(_percent(total, open_cells) - bar.done, self._shown(count, open_cells))
                time.sleep(_LOOK)

    def _not_done(self, cells: Sequence[Cell]) -> list[Cell]:
        """Those without a result, or with weights: of a process killed before it had tidied up."""
        folders = [(cell, cell.folder(self._out)) for cell in cells]
        return [
            cell for cell, folder in folders if not (folder / RESULT).exists() or leftovers(folder)
        ]

    def _reap(self) -> None:
        """Look which processes have ended, and how."""
        still = []
        for one in self._running:
            code, folder = one.process.poll(), one.cell.folder(self._out)
            if code is None:
                still.append(one)
            elif code == TAKEN:
                self._pending.append(one.cell)
            elif not (folder / RESULT).exists():
                self._fail(one.cell, one.message(code, self._out))
                self._tell_others(one.cell)
        self._running = still

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
            why = self._failed_elsewhere(folder)
            try:
                if why is None and is_free(folder / CLAIMS):
                    path = folder / LOG
                    log_start = path.stat().st_size if path.exists() else 0
                    process = self._start(cell, self._out)
                    self._running.append(_Running(cell, process, log_start))
                    self._pending.remove(cell)
            except OSError as error:  # of this machine: others may have more luck
                why = f"cannot be started ({error})"
            if why is not None:
                self._pending.remove(cell)
                self._fail(cell, why)

    def _failed_elsewhere(self, folder: Path) -> str | None:
        """Why another runner's attempt failed since this one began; earlier ones do not count."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if (folder / FAILURE).stat().st_mtime >= self._began:
                return str(json.loads((folder / FAILURE).read_text(encoding="utf-8"))["why"])
        return None

    def _shown(self, count: int, open_cells: Sequence[Cell]) -> dict[str, str]:
        done = count - len(open_cells) - len(self.failed)
        shown = {"done": f"{done}/{count}"}
        if self.failed:
            shown["failed"] = str(len(self.failed))
        if names := [one.cell.name for one in self._running]:
            shown["running"] = " and ".join(names)
        return shown

    @contextlib.contextmanager
    def _stopping(self) -> Iterator[None]:
        """However the block ends, no process of ours stays behind."""
        try:
            yield
        finally:
            for one in self._running:
                one.process.terminate()
            until = time.monotonic() + _PATIENCE
            try:
                for one in self._running:
                    one.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("a run does not stop, and is killed")
            finally:  # also at a second signal
                for one in self._running:
                    one.process.kill()


def _percent(total: float, still_open: Sequence[Cell]) -> int:
    return int(100 * (1 - sum(cell.cost for cell in still_open) / total))

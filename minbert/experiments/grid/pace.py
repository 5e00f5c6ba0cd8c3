"""The time that a grid still takes: by the runs that have ended, and how far those at work are.

Times are seconds on one clock, which the caller reads.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from minbert.experiments.grid.cells import Cell
from minbert.training.record import STEPS
from minbert.training.run_folder import LOG, MANIFEST

_TAIL = 4096  # bytes of a log that hold its last line
_AFTER = 0.15  # of the time that all steps take: the scoring that follows


def share_done(run: Path) -> float:
    """The share of its steps that a run has made, by its manifest and log; 0 if that is unknown."""
    try:
        total = json.loads((run / MANIFEST).read_text(encoding="utf-8"))[STEPS]
        with (run / LOG).open("rb") as stream:
            stream.seek(max(0, (run / LOG).stat().st_size - _TAIL))
            *_, last = (line for line in stream if line.endswith(b"\n"))
        return float((json.loads(last)["step"] + 1) / total)
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return 0.0


@dataclass
class _AtWork:
    """A run in the making: when it began, and when it was seen how far."""

    cell: Cell
    began: float
    before: float  # the share that an earlier process had made
    looks: list[tuple[float, float]] = field(default_factory=list)  # (time, share): first and last

    def look(self, done: float, now: float) -> None:
        known = self.looks[-1][1] if self.looks else self.before
        if done > known:  # before its first step it reads files
            self.looks[1:] = [(now, done)]

    def left(self, now: float) -> float | None:
        """The seconds that its own steps say are left; None where they say nothing yet."""
        if len(self.looks) < 2:
            return None
        (start, first), (then, last) = self.looks
        rate = (last - first) / (then - start)
        return max(0.0, (1 - last + _AFTER) / rate - (now - then))


class Pace:
    """How long runs take, and with that how long the rest of a grid takes."""

    def __init__(self, workers: int) -> None:
        """`workers` is how many runs are made at a time."""
        self._workers = workers
        self._took: dict[str, list[float]] = {}  # a command without its seed -> seconds of its runs
        self._ended: list[tuple[float, float]] = []  # (cost, seconds)
        self._at_work: dict[str, _AtWork] = {}  # by the cell's key
        self._elsewhere = 0

    def started(self, cell: Cell, done: float, now: float) -> None:
        """Take note of a run that begins, of which an earlier process has made a share."""
        self._at_work[cell.key] = _AtWork(cell, now, done)

    def look(self, cell: Cell, done: float, now: float) -> None:
        """Take note of how far a run is."""
        self._at_work[cell.key].look(done, now)

    def stopped(self, cell: Cell, now: float, *, whole: bool) -> None:
        """Take note of a run that is no longer at work; `whole` if it has its result."""
        run = self._at_work.pop(cell.key)
        if whole and run.before < 1:
            seconds = (now - run.began) / (1 - run.before)
            self._took.setdefault(_kind(cell), []).append(seconds)
            self._ended.append((cell.cost, seconds))

    def made_elsewhere(self, count: int) -> None:
        """Take note of runs that other runners have made."""
        self._elsewhere += count

    def left(self, waiting: Sequence[Cell], now: float) -> float | None:
        """The seconds until all is done; None while there is nothing to go by.

        Runs are handed out in turn to whichever worker is free. A kind of run that was made takes
        what it took; another one by its cost, at the rate of all others.
        """
        rate = self._rate(now)
        if rate is None:
            return None
        free = [self._rest(run, rate, now) for run in self._at_work.values()]
        free += [0.0] * (self._workers - len(free))
        heapq.heapify(free)
        for cell in waiting:
            heapq.heappush(free, heapq.heappop(free) + self._expected(cell, rate))
        ours = len(self._ended)
        return max(free) * (ours / (ours + self._elsewhere) if ours else 1.0)

    def _rate(self, now: float) -> float | None:
        """Seconds for a cost of 1, by all that is known."""
        known = self._ended + [
            (run.cell.cost * (1 - run.before), now - run.began + left)
            for run in self._at_work.values()
            if (left := run.left(now)) is not None
        ]
        return sum(s for _, s in known) / sum(c for c, _ in known) if known else None

    def _expected(self, cell: Cell, rate: float) -> float:
        took = self._took.get(_kind(cell))
        return mean(took) if took else cell.cost * rate

    def _rest(self, run: _AtWork, rate: float, now: float) -> float:
        if (left := run.left(now)) is not None:
            return left
        expected = self._expected(run.cell, rate) * (1 - run.before)
        return max(expected - (now - run.began), 0.0)


def _kind(cell: Cell) -> str:
    """What cells have in common that differ in nothing but their seed."""
    return cell.command.rpartition("--seed")[0] or cell.row

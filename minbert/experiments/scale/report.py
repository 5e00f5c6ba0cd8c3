"""What the scale study found: a table, rows for programs, curves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from minbert.experiments.measuring.trial import Spread
from minbert.experiments.scale.config import AXES
from minbert.reports.tables import Table

ABOUT = "Cost as work grows"
GOAL = 100_000_000  # pairs, of the plan under the table


@dataclass(frozen=True)
class ScaleRow:
    """One value of one axis. Seconds and bytes: of reading and encoding a file, or of a step.

    `low` and `high` are quartiles over rounds; `flops` are the step's, None for a file.
    """

    axis: str
    value: int
    seconds: float
    low: float
    high: float
    memory: int | None
    flops: int | None

    @classmethod
    def of(
        cls, axis: str, value: int, seconds: Sequence[float], memory: int | None, flops: int | None
    ) -> ScaleRow:
        """From the seconds of all rounds."""
        time = Spread.of(seconds)
        return cls(axis, value, time.median, time.low, time.high, memory, flops)


FIELDS = tuple(entry.name for entry in dataclasses.fields(ScaleRow))


def by_axis(rows: Sequence[ScaleRow]) -> Iterator[tuple[str, list[ScaleRow]]]:
    """The rows of each axis, as measured."""
    for axis, own in groupby(rows, lambda row: row.axis):
        yield axis, list(own)


def table(rows: Sequence[ScaleRow]) -> Table:
    """A line a value, with how fast it grew from the value before."""
    lines = []
    for axis, own in by_axis(rows):
        for before, row in zip([None, *own], own, strict=False):
            lines.append(
                [
                    AXES[axis],
                    f"{row.value:,}",
                    _seconds(row),
                    _growth(before, row),
                    "–" if row.memory is None else f"{row.memory / 1e6:,.0f}",
                    "–" if row.flops is None else f"{row.flops / row.seconds / 1e9:.0f}",
                ]
            )
    header = ["of", "value", "seconds", "exponent", "MB", "GFLOP/s"]
    notes = [
        "Pairs of a file: to read and encode them once, by one run each; MB are the process's peak "
        "beyond what it holds before. Otherwise a training step: median (quartiles); MB are what "
        "all tensors hold at its highest point, weights and moments included.",
        "Ranks share the batch, and on a CPU its cores; MB are those of one.",
        "Exponent: seconds grow like value to this power, from the line above.",
    ]
    return Table(ABOUT, header, lines, notes + [plan for plan in [_plan(rows)] if plan])


def _seconds(row: ScaleRow) -> str:
    spread = "" if row.low == row.high else f" ({row.low:.3g} to {row.high:.3g})"
    return f"{row.seconds:.3g}{spread}"


def _growth(before: ScaleRow | None, row: ScaleRow) -> str:
    if before is None:
        return "–"
    return f"{math.log(row.seconds / before.seconds) / math.log(row.value / before.value):.2f}"


def _plan(rows: Sequence[ScaleRow]) -> str | None:
    """What `GOAL` pairs would take, by the largest file, what memory grew by, the fastest batch."""
    files = [row for row in rows if row.axis == "rows" and row.memory is not None]
    batches = [row for row in rows if row.axis == "batch_sizes"]
    if len(files) < 2 or not batches:
        return None
    least, most = files[0], files[-1]
    assert least.memory is not None and most.memory is not None
    bytes_a_pair = (most.memory - least.memory) / (most.value - least.value)
    hours = most.seconds / most.value * GOAL / 3600
    batch = min(batches, key=lambda row: row.seconds / row.value)
    days = batch.seconds / batch.value * GOAL / 86400
    return (
        f"{GOAL:,} pairs, if it goes on so: {hours:.1f} h and {bytes_a_pair * GOAL / 1e9:.0f} GB "
        f"({bytes_a_pair:.0f} bytes a pair) to read and encode, {days:.1f} days an epoch in "
        f"batches of {batch.value}."
    )

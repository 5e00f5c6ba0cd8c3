"""The rows that the scale study measures, and the table made of them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from minbert.experiments.measuring.spread import with_quartiles
from minbert.experiments.scale.config import AXES
from minbert.reports.tables import Table

ABOUT = "Cost as work grows"
GOAL = 100_000_000  # pairs, of the plan under the table


@dataclass(frozen=True)
class ScaleRow:
    """Seconds and bytes at one value of one axis: to read and encode a file, or to make a step.

    Seconds are the median over rounds, `low` and `high` the quartiles. `flops` is the number of
    operations of a step; None for a file.
    """

    axis: str
    value: int
    seconds: float
    low: float
    high: float
    memory: int | None
    flops: int | None


def by_axis(rows: Sequence[ScaleRow]) -> Iterator[tuple[str, list[ScaleRow]]]:
    """The axes in the order they were measured in, each with its rows."""
    for axis, group in groupby(rows, lambda row: row.axis):
        yield axis, list(group)


def table(rows: Sequence[ScaleRow]) -> Table:
    """A line for each value, with how fast the seconds grew from the value before."""
    lines = [
        [
            AXES[axis],
            f"{row.value:,}",
            _seconds(row),
            _growth(before, row),
            "–" if row.memory is None else f"{row.memory / 1e6:,.0f}",
            "–" if row.flops is None else f"{row.flops / row.seconds / 1e9:.0f}",
        ]
        for axis, group in by_axis(rows)
        for before, row in zip([None, *group], group, strict=False)
    ]
    header = ["of", "value", "seconds", "exponent", "MB", "GFLOP/s"]
    notes = [
        "Pairs of a file: to read and encode them once, by one run each; MB are the process's peak "
        "beyond what it holds before. Otherwise a training step: median (quartiles); MB are what "
        "all tensors hold at its highest point, weights and moments included.",
        "Ranks share the batch, and on a CPU its cores; MB are those of one.",
        "Exponent: seconds grow like value to this power, from the line above.",
    ]
    return Table(ABOUT, header, lines, notes + _plan(rows))


def _seconds(row: ScaleRow) -> str:
    if row.low == row.high:
        return f"{row.seconds:.3g}"
    return with_quartiles(row.seconds, row.low, row.high, digits=".3g")


def _growth(before: ScaleRow | None, row: ScaleRow) -> str:
    if before is None:
        return "–"
    return f"{math.log(row.seconds / before.seconds) / math.log(row.value / before.value):.2f}"


def _plan(rows: Sequence[ScaleRow]) -> list[str]:
    """A note on what `GOAL` pairs would take; [] where too little was measured.

    Reading time is the largest file's, memory that by which the files' peaks grew, and the time of
    an epoch that of the fastest batch size.
    """
    files = [row for row in rows if row.axis == "rows" and row.memory is not None]
    batches = [row for row in rows if row.axis == "batch_sizes"]
    if len(files) < 2 or not batches:
        return []
    least, most = files[0], files[-1]
    assert least.memory is not None and most.memory is not None
    bytes_a_pair = (most.memory - least.memory) / (most.value - least.value)
    hours = most.seconds / most.value * GOAL / 3600
    batch = min(batches, key=lambda row: row.seconds / row.value)
    days = batch.seconds / batch.value * GOAL / 86400
    return [
        f"{GOAL:,} pairs, if it goes on so: {hours:.1f} h and {bytes_a_pair * GOAL / 1e9:.0f} GB "
        f"({bytes_a_pair:.0f} bytes a pair) to read and encode, {days:.1f} days an epoch in "
        f"batches of {batch.value}."
    ]

"""The cost ledger as rows: to print and to read by programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minbert.experiments.cost.methods import Method
from minbert.experiments.measuring.ledger import Count
from minbert.experiments.measuring.trial import Spread
from minbert.reports.tables import Table

ABOUT = "Cost of a training step, by method"
_NOTES = (
    "passes: forward + backward, of the whole batch, through the encoder and any copy of it",
    "units: operations of the step over those of a forward pass",
    "ratios: to standard; of wall time within a round, median (quartiles)",
    "STD++ is a schedule: its step is the standard one",
)


@dataclass(frozen=True)
class CostRow:
    """What a step of a method costs. Ratios are to the standard method's; `low`, `high` quartiles.

    `forward` and `backward` are passes of the whole batch through the encoder, `units` forward
    units; `paper_*` the same in Table 1 of the R3F paper. `flops` counts multiplications and
    additions, as if all texts were as long as the longest. A wall ratio is taken within a round,
    and its median over the rounds.
    """

    method: str
    flags: str
    forward: float
    backward: float
    paper_forward: int | None
    paper_backward: int | None
    units: float
    paper_units: int | None
    flops: int
    seconds: float
    seconds_low: float
    seconds_high: float
    wall_ratio: float
    wall_ratio_low: float
    wall_ratio_high: float
    memory_bytes: int | None
    memory_ratio: float | None


FIELDS = tuple(entry.name for entry in dataclasses.fields(CostRow))


def make_row(
    method: Method, count: Count, seconds: Mapping[str, Sequence[float]], memory: Mapping[str, int]
) -> CostRow:
    """`seconds` of each method in each round, `memory` the bytes at its peak, where known.

    The first method in `seconds` is the standard one.
    """
    standard = next(iter(seconds))
    own = seconds[method.name]
    time = Spread.of(own)
    ratio = Spread.of_ratios(own, seconds[standard])
    held = memory.get(method.name)
    paper_forward, paper_backward = method.paper or (None, None)
    return CostRow(
        method=method.name,
        flags=method.flags,
        forward=count.forward,
        backward=count.backward,
        paper_forward=paper_forward,
        paper_backward=paper_backward,
        units=count.units,
        paper_units=method.paper_units,
        flops=count.flops,
        seconds=time.median,
        seconds_low=time.low,
        seconds_high=time.high,
        wall_ratio=ratio.median,
        wall_ratio_low=ratio.low,
        wall_ratio_high=ratio.high,
        memory_bytes=held,
        memory_ratio=None if held is None else held / memory[standard],
    )


def table(rows: Sequence[CostRow]) -> Table:
    """A line a method, what the R3F paper claims beside what was found."""
    header = [
        "method",
        "passes",
        "R3F paper's",
        "units",
        "R3F paper's",
        "wall ratio",
        "memory ratio",
    ]
    lines = []
    for row in rows:
        wall = f"{row.wall_ratio:.2f} ({row.wall_ratio_low:.2f} to {row.wall_ratio_high:.2f})"
        passes = f"{row.forward:g} + {row.backward:g}"
        paper = _or_dash(row.paper_forward, f"{row.paper_forward} + {row.paper_backward}")
        units = [f"{row.units:.2f}", _or_dash(row.paper_units, f"{row.paper_units}")]
        memory = _or_dash(row.memory_ratio, f"{row.memory_ratio or 0:.2f}")
        lines.append([row.method, passes, paper, *units, wall, memory])
    return Table(ABOUT, header, lines, _NOTES)


def _or_dash(value: float | None, text: str) -> str:
    return "–" if value is None else text


def standard(row: CostRow) -> str:
    """The first method's step in plain units, which the ratios are to."""
    memory = "" if row.memory_bytes is None else f", {row.memory_bytes / 1e9:.3f} GB at its peak"
    return f"{row.method}: {row.seconds:.3f} s a step, {row.flops / 1e9:.1f} GFLOP{memory}"

"""The cost ledger as rows: to print and to read by programs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minbert.experiments.cost.methods import CostedMethod
from minbert.experiments.measuring.ledger import Count
from minbert.experiments.measuring.spread import Spread, with_quartiles
from minbert.reports.tables import Table

ABOUT = "Cost of a training step, by method"
_NOTES = (
    "passes: forward + backward, of the whole batch, through the encoder and any copy of it",
    "units: operations of the step over those of a forward pass",
    "ratios: to standard; of wall time within a round, median (quartiles)",
    "K = batch, 1/2, 1/4 (--micro_batch_size): ratios to the whole batch at once; time's median",
    "STD++ is a schedule: its step is the standard one",
)


@dataclass(frozen=True)
class CostRow:
    """The cost of a method's step. Ratios are to the standard method's.

    `forward` and `backward` are passes of the whole batch through the encoder, `units` forward
    units; `paper_*` are those in Table 1 of the R3F paper. `flops` counts multiplications and
    additions, as if all texts were as long as the longest. Seconds and the wall ratio are medians
    over the rounds, with quartiles; a wall ratio is taken within a round. `half_*` and `quarter_*`
    are with so much of the batch at once, and their wall ratios are to all of it at once.
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
    half_memory_bytes: int | None
    quarter_memory_bytes: int | None
    half_wall_ratio: float
    quarter_wall_ratio: float


def make_row(
    method: CostedMethod,
    count: Count,
    seconds: Mapping[str, Sequence[float]],
    memory: Mapping[str, int],
    cuts: Sequence[CostedMethod],
) -> CostRow:
    """A method's row, from the seconds of each method in each round and the bytes at its peak.

    The first method in `seconds` is the standard one. `memory` lacks what is not known. `cuts` are
    the method on a half and on a quarter of a batch at a time.
    """
    half, quarter = (cut.name for cut in cuts)
    standard, own = next(iter(seconds)), seconds[method.name]
    held = memory.get(method.name)
    paper_forward, paper_backward = method.paper or (None, None)
    return CostRow(
        method=method.name,
        flags=method.flags,
        forward=count.forward,
        backward=count.backward,
        units=count.units,
        flops=count.flops,
        paper_forward=paper_forward,
        paper_backward=paper_backward,
        paper_units=method.paper_units,
        **Spread.of(own).columns("seconds"),
        **Spread.of_ratios(own, seconds[standard]).columns("wall_ratio"),
        memory_bytes=held,
        memory_ratio=None if held is None else held / memory[standard],
        half_memory_bytes=memory.get(half),
        quarter_memory_bytes=memory.get(quarter),
        half_wall_ratio=Spread.of_ratios(seconds[half], own).median,
        quarter_wall_ratio=Spread.of_ratios(seconds[quarter], own).median,
    )


def table(rows: Sequence[CostRow]) -> Table:
    """A line for each method, with the R3F paper's claims beside what was found."""
    paper, ratios = "R3F paper's", ("wall ratio", "memory ratio")
    pieces = [f"{what}, K = batch, 1/2, 1/4" for what in ("memory", "time")]
    header = ["method", "passes", paper, "units", paper, *ratios, *pieces]
    lines = []
    for row in rows:
        wall = with_quartiles(row.wall_ratio, row.wall_ratio_low, row.wall_ratio_high)
        passes = f"{row.forward:g} + {row.backward:g}"
        claimed = _or_dash(row.paper_forward, f"{row.paper_forward} + {row.paper_backward}")
        units = [f"{row.units:.2f}", _or_dash(row.paper_units, f"{row.paper_units}")]
        memory = _or_dash(row.memory_ratio, f"{row.memory_ratio or 0:.2f}")
        parts = [
            _memory_in_pieces(row),
            f"1 / {row.half_wall_ratio:.2f} / {row.quarter_wall_ratio:.2f}",
        ]
        lines.append([row.method, passes, claimed, *units, wall, memory, *parts])
    return Table(ABOUT, header, lines, _NOTES)


def _memory_in_pieces(row: CostRow) -> str:
    if row.memory_bytes is None:
        return "–"
    half, quarter = row.half_memory_bytes or 0, row.quarter_memory_bytes or 0
    return f"1 / {half / row.memory_bytes:.2f} / {quarter / row.memory_bytes:.2f}"


def _or_dash(value: float | None, text: str) -> str:
    return "–" if value is None else text


def standard(row: CostRow) -> str:
    """The standard method's step in plain units: seconds, operations and bytes."""
    memory = "" if row.memory_bytes is None else f", {row.memory_bytes / 1e9:.3f} GB at its peak"
    return f"{row.method}: {row.seconds:.3f} s a step, {row.flops / 1e9:.1f} GFLOP{memory}"

"""The cost ledger as rows: to print, to read by programs, to plot."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from minbert import files
from minbert.experiments.ledger import Count
from minbert.experiments.measure import Spread
from minbert.experiments.methods import Method

ABOUT = "Cost of a training step, by method"


@dataclass(frozen=True)
class Row:
    """What a step of a method costs. Ratios are to the standard method's; `low`, `high` quartiles.

    `forward` and `backward` are passes of the whole batch through the encoder, `units` forward
    units; `paper_*` the same in Table 1 of the R3F paper. `flops` counts multiplications and
    additions. A wall ratio is taken within a round, and its median over the rounds.
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


FIELDS = tuple(entry.name for entry in dataclasses.fields(Row))


def make_row(
    method: Method, count: Count, seconds: Mapping[str, Sequence[float]], memory: Mapping[str, int]
) -> Row:
    """`seconds` of each method in each round, `memory` the bytes at its peak, where known.

    The first method in `seconds` is the standard one.
    """
    standard = next(iter(seconds))
    own = seconds[method.name]
    time = Spread.of(own)
    ratio = Spread.of([one / plain for one, plain in zip(own, seconds[standard], strict=True)])
    held = memory.get(method.name)
    paper_forward, paper_backward = method.paper or (None, None)
    return Row(
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


def table(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    header = [
        "method",
        "passes",
        "R3F paper's",
        "units",
        "R3F paper's",
        "wall ratio",
        "memory ratio",
    ]
    cells = [header, ["---"] * len(header)]
    for row in rows:
        wall = f"{row.wall_ratio:.2f} ({row.wall_ratio_low:.2f} to {row.wall_ratio_high:.2f})"
        passes = f"{row.forward:g} + {row.backward:g}"
        paper = _or_dash(row.paper_forward, f"{row.paper_forward} + {row.paper_backward}")
        units = [f"{row.units:.2f}", _or_dash(row.paper_units, f"{row.paper_units}")]
        memory = "-" if row.memory_ratio is None else f"{row.memory_ratio:.2f}"
        cells.append([row.method, passes, paper, *units, wall, memory])
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _or_dash(value: int | None, text: str) -> str:
    return "-" if value is None else text


def as_csv(rows: Sequence[Row]) -> str:
    """The same with all fields; what is not known is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    return text.getvalue()


def plot(rows: Sequence[Row], path: Path) -> None:
    """Bars, into an SVG or PNG file: forward units, wall ratio and, where known, memory ratio."""
    held = [row.memory_ratio for row in rows if row.memory_ratio is not None]
    figure = Figure(figsize=(11, 0.3 * len(rows) + 1.4), layout="constrained")
    panels = figure.subplots(1, 3 if held else 2, sharey=True)
    names = [row.method for row in rows]
    _plot_units(panels[0], rows)
    medians = [row.wall_ratio for row in rows]
    below = [row.wall_ratio - row.wall_ratio_low for row in rows]
    above = [row.wall_ratio_high - row.wall_ratio for row in rows]
    panels[1].barh(names, medians, xerr=[below, above], color="C2")
    panels[1].set_xlabel("wall time over standard's")
    if held:
        panels[2].barh(names, held, color="C4")
        panels[2].set_xlabel("peak memory over standard's")
    # one ledger, one picture: no date and no random ids inside
    with rc_context({"svg.hashsalt": ABOUT}), files.replacing(path) as draft:
        kind = path.suffix.removeprefix(".")
        undated = {"Date": None} if kind == "svg" else {}
        figure.savefig(draft, format=kind, metadata={"Title": ABOUT, **undated})


def _plot_units(axes: Axes, rows: Sequence[Row]) -> None:
    axes.barh([row.method for row in rows], [row.units for row in rows], label="counted")
    claimed = [(row.paper_units, row.method) for row in rows if row.paper_units is not None]
    axes.plot(*zip(*claimed, strict=True), "D", color="C1", label="R3F paper, Table 1")
    axes.set_xlabel("forward units a step")
    axes.xaxis.set_major_locator(MultipleLocator(3))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    axes.margins(y=0.01)
    axes.invert_yaxis()  # the first method on top

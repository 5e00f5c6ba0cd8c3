"""The cost ledger as bars: forward units, wall time, memory, a panel each."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from minbert.experiments.cost.report import ABOUT, CostRow
from minbert.reports.picture import Picture
from minbert.reports.plotting import HUES, OURS, THEIRS, WIDTH, drawn, save

_Panel = tuple[str, Callable[..., None], Callable[[CostRow], str]]


def plot(rows: Sequence[CostRow], path: Path) -> None:
    """Draw all panels side by side, into an SVG or PNG file."""
    panels = _panels(rows)
    figure = Figure(figsize=(11, 0.3 * len(rows) + 1.4), layout="constrained")
    for axes, (_, draw, _) in zip(
        figure.subplots(1, len(panels), sharey=True), panels.values(), strict=True
    ):
        draw(axes, rows)
        axes.label_outer()
    save(figure, ABOUT, path)


def pictures(rows: Sequence[CostRow]) -> Iterator[Picture]:
    """A picture for each panel."""
    for name, (title, draw, in_words) in _panels(rows).items():
        words = "; ".join(f"{row.method}: {in_words(row)}" for row in rows)
        size = (WIDTH, 0.22 * len(rows) + 1.1)
        yield drawn(f"cost-{name}", title, words, partial(draw, rows=rows), size)


def _panels(rows: Sequence[CostRow]) -> dict[str, _Panel]:
    """The panels by name: title, how to draw it, and a row in words; memory only where known."""
    panels: dict[str, _Panel] = {
        "units": ("Forward units a step", _plot_units, _units),
        "time": ("Wall time over standard's", _plot_time, lambda row: f"{row.wall_ratio:.2f}"),
    }
    if any(row.memory_ratio is not None for row in rows):
        panels["memory"] = ("Peak memory over standard's", _plot_memory, _memory)
    return panels


def _units(row: CostRow) -> str:
    claimed = "" if row.paper_units is None else f", the paper's {row.paper_units}"
    return f"{row.units:.2f}{claimed}"


def _memory(row: CostRow) -> str:
    return "unknown" if row.memory_ratio is None else f"{row.memory_ratio:.2f}"


def _plot_units(axes: Axes, rows: Sequence[CostRow]) -> None:
    _bars(axes, rows, [row.units for row in rows], OURS, "forward units a step")
    claimed = [(row.paper_units, row.method) for row in rows if row.paper_units is not None]
    if claimed:
        (marks,) = axes.plot(*zip(*claimed, strict=True), "D", color=THEIRS, fillstyle="none")
        marks.set_label("R3F paper, Table 1")
    axes.xaxis.set_major_locator(MultipleLocator(3))
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False)


def _plot_time(axes: Axes, rows: Sequence[CostRow]) -> None:
    below = [row.wall_ratio - row.wall_ratio_low for row in rows]
    above = [row.wall_ratio_high - row.wall_ratio for row in rows]
    ratios = [row.wall_ratio for row in rows]
    _bars(axes, rows, ratios, HUES[2], "wall time over standard's", [below, above])


def _plot_memory(axes: Axes, rows: Sequence[CostRow]) -> None:
    held = [row.memory_ratio or 0.0 for row in rows]
    _bars(axes, rows, held, HUES[4], "peak memory over standard's")


def _bars(
    axes: Axes,
    rows: Sequence[CostRow],
    values: Sequence[float],
    color: str,
    name: str,
    spread: Sequence[Sequence[float]] | None = None,
) -> None:
    ink = axes.spines["left"].get_edgecolor()
    names = [row.method for row in rows]
    axes.barh(names, values, xerr=spread, color=color, ecolor=ink, label="counted")
    axes.set_xlabel(name)
    axes.margins(y=0.01)
    axes.set_ylim(len(rows) - 0.5, -0.5)  # the first method on top

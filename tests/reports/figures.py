"""What is wrong with the letters of a plot, seen when matplotlib draws it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import BboxBase


def faults(figure: Figure) -> list[str]:
    """Letters that cover each other, and labels that an axis has twice."""
    figure.draw_without_rendering()
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in texts]
    found = [
        f"{one} covers {other}"
        for (one, box), (other, second) in combinations(boxes, 2)
        if box.overlaps(second)
    ]
    notes = [text for axes in figure.axes for text in axes.texts]  # ticks may lie out of sight
    found += [
        f"{note.get_text()} lies outside"
        for note in notes
        if not _holds(figure.bbox, Text.get_window_extent(note))
    ]
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            labels = [
                tick.label1.get_text()
                for tick in axis.get_major_ticks()
                if low <= tick.get_loc() <= high and tick.label1.get_text()
            ]
            found += [f"{label} twice" for label in set(labels) if labels.count(label) > 1]
    return found


def _holds(figure: BboxBase, box: BboxBase) -> bool:
    return all(figure.contains(x, y) for x, y in ((box.x0, box.y0), (box.x1, box.y1)))


@contextmanager
def watched() -> Iterator[dict[str, list[str]]]:
    """The faults of every figure that is drawn within the block, by its salt, which is its name."""
    found: dict[str, list[str]] = {}
    real = Figure.savefig

    def save(figure: Figure, *arguments: object, **settings: object) -> None:
        from matplotlib import rcParams

        found[rcParams["svg.hashsalt"]] = faults(figure)
        real(figure, *arguments, **settings)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Figure, "savefig", save)
        yield found

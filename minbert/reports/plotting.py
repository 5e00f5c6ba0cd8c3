"""Plots as SVG that a page can hold: in the reader's colours, with words, without a date.

Lines and letters are in the colour of the text around them, on a transparent ground. The colours of
the data have middle lightness, to be seen on white and on black, and differ for the colour-blind
too (after Okabe & Ito 2008). Equal data make equal bytes.
"""

import io
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from minbert.reports.picture import Picture, printable
from minbert.support import durable_files

INK = "#010203"  # what matplotlib draws in place of the reader's text colour
OURS, THEIRS = "#3a8fb0", "#c77a1f"
HUES = (OURS, THEIRS, "#2b9a78", "#b8569a", "#7f74c9", "#8c8a2a")
WIDTH = 3.9  # inches: a phone's width, at which letters keep their size
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": 9.0,
    "grid.alpha": 0.2,
    "grid.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",  # letters stay letters: to be read aloud, searched and copied
    "text.color": INK,
    "text.parse_math": False,  # a name with a $ is a name
    "xtick.color": INK,
    "ytick.color": INK,
}
_NO_FACTS = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_LETTERS = 30  # of a label beside an axis
_RING = ((1, 0.6), (1, -1.4), (-1.6, 0.6), (-1.6, -1.4), (0, 1.4), (0, -2), (2, 0), (-2.6, 0))
_OFFSETS: dict[
    str, list[tuple[float, float]]
] = {  # where a label may stand, in points from what it names; the first free place is taken
    "around": [(5 * far * x, 5 * far * y) for far in (1, 2, 3, 4, 5, 6) for x, y in _RING],
    "beside": [(6, -3 + 4 * sign * far) for far in range(20) for sign in (1, -1)],
}


def drawn(
    name: str,
    title: str,
    words: str,
    draw: Callable[[Axes], object],
    size: tuple[float, float],
    margins: Mapping[str, float] | None = None,
) -> Picture:
    """The picture that `draw` makes on the axes of a figure of `size`, width and height in inches.

    `name` has letters, digits and hyphens only. `margins` are where the axes' left, right, bottom
    and top stand, in parts of the figure; to find them out takes as long as the drawing.
    """
    with rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # the reader's browser has other fonts than matplotlib
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")
        figure = Figure(figsize=size, layout=None if margins else "constrained")
        draw(figure.subplots(gridspec_kw=dict(margins or {})))
        _move_apart(figure)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=_NO_FACTS)
    points = (72 * size[0], 72 * size[1])
    return Picture(name, printable(title), printable(words), _body(text.getvalue(), name), points)


def annotate(
    axes: Axes, text: str, place: tuple[float, float], where: str = "around", **style: Any
) -> None:
    """Label a point of the data; `drawn` moves labels that would cover each other or a point.

    `where` is "around", or "beside" for the end of a line, where labels move up and down only.
    """
    stroke = {"arrowstyle": "-", "color": INK, "alpha": 0.35, "lw": 0.6, "shrinkA": 0, "shrinkB": 3}
    note = axes.annotate(
        text, place, _OFFSETS[where][0], textcoords="offset points", arrowprops=stroke, **style
    )
    note.set_label(where)


def _move_apart(figure: Figure) -> None:
    """Give each label the first place that is free: of letters, points, and the ticks' labels."""
    texts = [text for axes in figure.axes for text in axes.texts]
    notes = [n for n in texts if isinstance(n, Annotation) and n.get_label() in _OFFSETS]
    if len(notes) < 2:
        return
    _settle(figure)
    points = [note.axes.transData.transform(note.xy) for note in notes if note.axes]
    taken = [Bbox.from_bounds(x - 2, y - 2, 4, 4) for x, y in points]
    for note, (x, y) in zip(notes, points, strict=True):
        low, high = note.axes.bbox.y0 if note.axes else 0, figure.bbox.y1
        boxes = {place: _box(note, x, y, place) for place in _OFFSETS[str(note.get_label())]}
        inside = {p: box for p, box in boxes.items() if low <= box.y0 and box.y1 <= high}
        free = (p for p, box in inside.items() if not any(box.overlaps(own) for own in taken))
        note.xyann = next(free, note.xyann)
        taken.append(boxes[note.xyann])


def _settle(figure: Figure) -> None:
    """Bring the axes to the place and range that they keep."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.autoscale_view()


def _box(note: Annotation, x: float, y: float, offset: tuple[float, float]) -> Bbox:
    """Where a point's label would be, in dots; a little larger, as a reader's letters may be."""
    figure = note.get_figure(root=True)
    assert figure is not None
    points = figure.dpi / 72
    size = Text.get_window_extent(note)  # of the letters alone, without the stroke
    left, below = x + points * offset[0] - 1, y + points * offset[1] - size.height / 4 - 1
    return Bbox.from_bounds(left, below, size.width + 2, size.height + 2)


def save(figure: Figure, title: str, path: Path) -> None:
    """Write a figure as the SVG or PNG that `path` names. Equal data make equal bytes."""
    with rc_context({"svg.hashsalt": title}), durable_files.replacing(path) as draft:
        kind = path.suffix.removeprefix(".")
        undated = {"Date": None} if kind == "svg" else {}
        figure.savefig(draft, format=kind, metadata={"Title": title, **undated})


def _body(svg: str, name: str) -> str:
    """The content of matplotlib's svg element, in the page's ink and font, with unique ids."""
    inner = svg[svg.index(">", svg.index("<svg ")) + 1 : svg.rindex("</svg>")]
    inner = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", inner, flags=re.S)
    inner = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", inner)
    used = set(re.findall(r'(?:href="|url\()#([\w.-]+)', inner))

    def in_tag(tag: re.Match[str]) -> str:
        renamed = re.sub(
            r' id="([^"]*)"', lambda at: f' id="{name}-{at[1]}"' if at[1] in used else "", tag[0]
        )
        return re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", renamed).replace(INK, "currentColor")

    inner = re.sub(r"<[^>]+>", in_tag, inner)
    return "".join(f"{line.rstrip()}\n" for line in inner.splitlines() if line.strip())


def label(text: str) -> str:
    """A name short enough to stand beside an axis."""
    text = printable(text)
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"

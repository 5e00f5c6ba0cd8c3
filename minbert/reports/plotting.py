"""Plots as SVG that a page can hold: in the reader's colours, with words, without a date.

Lines and letters are in the colour of the text around them, on a transparent ground. The colours of
the data have middle lightness, to be seen on white and on black, and differ for the colour-blind
too (after Okabe & Ito 2008). Equal data make equal bytes.
"""

import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


def drawn(
    name: str, title: str, words: str, draw: Callable[[Axes], object], size: tuple[float, float]
) -> Picture:
    """The picture that `draw` makes on the axes of a figure of `size`, width and height in inches.

    `name` has letters, digits and hyphens only.
    """
    with rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # the reader's browser has other fonts than matplotlib
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=_NO_FACTS)
    points = (72 * size[0], 72 * size[1])
    return Picture(name, printable(title), printable(words), _body(text.getvalue(), name), points)


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

"""A report: one HTML file that needs nothing beside it, and its plots as SVG files of their own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbert.reports.page import render
from minbert.reports.picture import Picture
from minbert.reports.tables import Table
from minbert.support import durable_files

_TEMPLATE = Path(__file__).with_name("report.html")
_LONG = 30  # characters: a column with longer texts than that wraps


@dataclass(frozen=True)
class ShadedText:
    """A text whose tokens are shaded by weights from 0 to 1, line after line.

    `lines` have a name, and a (token, weight) for each token.
    """

    title: str
    words: str
    lines: Sequence[tuple[str, Sequence[tuple[str, float]]]]


@dataclass(frozen=True)
class Plots:
    """Pictures under a heading, with words on how to read them, and tables that go along."""

    title: str
    words: str
    pictures: Sequence[Picture]
    tables: Sequence[Table] = ()
    unfolded: bool = False  # whether the tables show their rows at once
    shaded: Sequence[ShadedText] = ()


@dataclass(frozen=True)
class Section:
    """An experiment's part of a report.

    It opens with its `headline` in words and one picture. `missing` has a line for each result that
    is not there. `rows` are the names that plots number.
    """

    title: str
    headline: Sequence[str] = ()
    opening: Picture | None = None
    facts: Sequence[str] = ()
    missing: Sequence[str] = ()
    tables: Sequence[Table] = ()
    rows: Sequence[str] = ()
    plots: Sequence[Plots] = ()
    commands: Table | None = None

    @property
    def pictures(self) -> Iterator[Picture]:
        """All of them."""
        yield from [self.opening] if self.opening else []
        for plots in self.plots:
            yield from plots.pictures


def as_html(title: str, sections: Sequence[Section]) -> str:
    """The HTML page. Nothing in it runs, and nothing is fetched."""
    return render(
        _TEMPLATE,
        title=title,
        sections=sections,
        columns=_columns,
        missing=[(section.title, line) for section in sections for line in section.missing],
    )


def write(out: Path, name: str, title: str, sections: Sequence[Section]) -> Path:
    """Write NAME.html and, into NAME-plots/, its pictures; returns the page's path."""
    page = out / f"{name}.html"
    texts = {
        out / f"{name}-plots" / f"{picture.name}.svg": picture.alone
        for section in sections
        for picture in section.pictures
    }
    durable_files.write_texts({**texts, page: as_html(title, sections)})
    return page


def _columns(table: Table) -> list[str]:
    """A CSS class for each column: numbers stand to the right, long texts wrap."""
    return [
        "number" if number else "text" if any(len(row[at]) > _LONG for row in table.rows) else ""
        for at, number in enumerate(table.are_numbers)
    ]

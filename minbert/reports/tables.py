"""A table of text as Markdown and as LaTeX, and rows of values as CSV."""

import csv
import io
import re
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from minbert.support.console import printable

_LATEX = {
    "\\": r"\textbackslash{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "…": r"\ldots{}",
    "→": r"$\rightarrow$",
    "¹": "$^1$",
    "†": r"\dag{}",
    "λ": r"$\lambda$",
    "<": r"$<$",
    ">": r"$>$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "--": "-{}-",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_SPECIAL = re.compile("|".join(re.escape(text) for text in sorted(_LATEX, key=len, reverse=True)))
# Markdown in a note, which may quote a program; "n < 5" and "[95% interval]" stay as they are
_MARKDOWN = re.compile(r"[\\`*_]|[<&](?=\S)|\](?=\()")
_CELL = re.compile(r"\||[<&](?=\S)")  # what ends a cell, or begins HTML
# where a spreadsheet begins a cell, blanks and quotes, and the sign of a formula, full-width or not
_FORMULA = re.compile(r'((?:^|[;\t\r\n])[\s\u200b-\u200f\u2060\ufeff"]*)([=+\-@＝＋－＠])')
_NUMBER = re.compile(r"(< )?[-+\[]?[\d.]+|–$")


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header, with notes below.

    A page folds the rows of the `quiet` numbers, counted from 0, under the line `quiet_title`.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    quiet: Collection[int] = ()
    quiet_title: str = ""

    def markdown(self) -> str:
        """A heading, a pipe table and a list of notes."""
        lines = [f"### {_inline(self.title)}", "", _piped(self.header)]
        lines.append(_piped(["---:" if number else "---" for number in self.are_numbers]))
        lines += [_piped(row) for row in self.rows]
        if self.notes:
            lines += ["", *(f"- {_plain(note)}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def text(self, columns: int) -> str:
        """Aligned columns for a terminal; a block of lines for each row, where they do not fit."""
        lines = [printable(self.title), ""]
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        if sum(widths) + 2 * (len(widths) - 1) <= columns:
            lines += [self._aligned(row, widths) for row in (self.header, *self.rows)]
        else:
            lines += [line for row in self.rows for line in self._block(row, columns)]
        for note in self.notes:
            lines += ["", *textwrap.wrap(_one_line(note), columns)]
        return "\n".join(lines) + "\n"

    def _aligned(self, row: Sequence[str], widths: Sequence[int]) -> str:
        cells = [
            _one_line(cell).rjust(width) if number else _one_line(cell).ljust(width)
            for cell, width, number in zip(row, widths, self.are_numbers, strict=True)
        ]
        return "  ".join(cells).rstrip()

    def _block(self, row: Sequence[str], columns: int) -> list[str]:
        """A row as its first cell and, below it, each other cell beside its column's name."""
        first, *others = map(_one_line, row)
        lines = textwrap.wrap(first, columns)
        for name, cell in zip(self.header[1:], others, strict=True):
            lines += textwrap.wrap(
                f"{name}: {cell}", columns, initial_indent="  ", subsequent_indent="    "
            )
        return lines

    def latex(self) -> str:
        """A LaTeX `table` that needs no packages."""
        columns = "".join("r" if number else "l" for number in self.are_numbers)
        body = [f"{' & '.join(map(_escaped, row))} \\\\" for row in (self.header, *self.rows)]
        header, *rows = body
        lines = [r"\begin{table}", rf"\begin{{tabular}}{{{columns}}}", r"\hline", header, r"\hline"]
        lines += [*rows, r"\hline", r"\end{tabular}"]
        lines.append(rf"\caption{{{_escaped('. '.join([self.title, *self.notes]))}}}")
        return "\n".join([*lines, r"\end{table}"]) + "\n"

    def part(self, quiet: bool) -> list[Sequence[str]]:
        """The rows that a page folds, or those that it shows at once."""
        return [row for number, row in enumerate(self.rows) if (number in self.quiet) == quiet]

    @property
    def are_numbers(self) -> list[bool]:
        """Whether each column holds numbers, which stand to the right."""
        return [
            all(_NUMBER.match(row[column]) for row in self.rows)
            for column in range(len(self.header))
        ]


def shown(tables: Iterable[Table]) -> str:
    """The tables as stdout's reader wants them: text on a terminal, Markdown elsewhere."""
    if not sys.stdout.isatty():
        return "\n".join(table.markdown() for table in tables)
    columns = shutil.get_terminal_size().columns
    return "\n".join(table.text(columns) for table in tables)


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """The rows as CSV with all digits, for programs; a value of None is left empty.

    Where a spreadsheet would run a text as a formula, an apostrophe stands before it. That may be
    within a cell, too, since some spreadsheets begin a new one at a semicolon or tab.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(_harmless, row) for row in rows)
    return text.getvalue()


def _harmless(cell: Any) -> Any:
    return _FORMULA.sub(r"\1'\2", cell) if isinstance(cell, str) else cell


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_inline, cells))} |"


def _inline(text: str) -> str:
    return _CELL.sub(_with_backslash, _one_line(text))


def _plain(text: str) -> str:
    return _MARKDOWN.sub(_with_backslash, _one_line(text))


def _with_backslash(found: re.Match[str]) -> str:
    return f"\\{found[0]}"


def _one_line(text: str) -> str:
    return printable(text).replace("\n", " ")


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: _LATEX[found[0]], text)

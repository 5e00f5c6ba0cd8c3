"""A table of text as Markdown and as LaTeX, and rows of values as CSV."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

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
_NUMBER = re.compile(r"(< )?[-+\[]?[\d.]+|–$")


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header, with notes below."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """A heading, a pipe table and a list of notes."""
        lines = [f"### {self.title}", "", _piped(self.header)]
        lines.append(_piped(["---:" if number else "---" for number in self.are_numbers]))
        lines += [_piped(row) for row in self.rows]
        if self.notes:
            lines += ["", *(f"- {_plain(note)}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def latex(self) -> str:
        """A LaTeX `table` that needs no packages."""
        columns = "".join("r" if number else "l" for number in self.are_numbers)
        body = [f"{' & '.join(map(_escaped, row))} \\\\" for row in (self.header, *self.rows)]
        header, *rows = body
        lines = [r"\begin{table}", rf"\begin{{tabular}}{{{columns}}}", r"\hline", header, r"\hline"]
        lines += [*rows, r"\hline", r"\end{tabular}"]
        lines.append(rf"\caption{{{_escaped('. '.join([self.title, *self.notes]))}}}")
        return "\n".join([*lines, r"\end{table}"]) + "\n"

    @property
    def are_numbers(self) -> list[bool]:
        """Whether each column holds numbers, which stand to the right."""
        return [
            all(_NUMBER.match(row[column]) for row in self.rows)
            for column in range(len(self.header))
        ]


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """The rows as CSV with all digits, for programs; a value of None is left empty."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _plain(text: str) -> str:
    return _MARKDOWN.sub(lambda found: f"\\{found[0]}", text)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: _LATEX[found[0]], text)

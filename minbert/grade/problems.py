"""The problems of a submission: named, counted, one a line, and never a flood."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from minbert.support.console import printable

LISTED = 20  # problems of one kind and file that are kept; the others are counted
_SHOWN_LINES = 5
_LONGEST_NAME, _LONGEST_VALUE = 120, 40


@dataclass(frozen=True)
class Problem:
    """A defect of a file: its line (None for the whole file), what it is, what to do about it."""

    file: str
    line: int | None
    what: str
    kind: str

    def spelled(self, submission: str = "") -> str:
        """Return the line `submission/file:line: what`, as far as each is known."""
        where = "/".join(filter(None, (submission, self.file)))
        where = where if self.line is None else f"{where}:{self.line}"
        return f"{where}: {self.what}" if where else self.what


@dataclass
class Problems:
    """The problems of one file, in the order they were met."""

    file: str
    kept: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, what: str, line: int | None = None) -> None:
        """Note a problem. From one more than `LISTED` of a kind on, it is only counted."""
        self.counts[kind] += 1
        if self.counts[kind] <= LISTED:
            self.kept.append(Problem(self.file, line, what, kind))

    def listed(self) -> list[Problem]:
        """Return the problems kept, and one more for each kind that had more."""
        more = [
            Problem(self.file, None, f"{count - LISTED} more lines with such a defect", kind)
            for kind, count in self.counts.items()
            if count > LISTED
        ]
        return [*self.kept, *more]


def in_brief(problems: Iterable[Problem], submission: str = "") -> Iterator[str]:
    """Yield a line for each file and kind: the first problem in full, the lines of some others."""
    ordered = sorted(problems, key=lambda problem: (problem.file, problem.kind))
    for _, same in groupby(ordered, key=lambda problem: (problem.file, problem.kind)):
        yield _brief(list(same), submission)


def _brief(same: Sequence[Problem], submission: str) -> str:
    first, others = same[0].spelled(submission), same[1:]
    lines = [str(problem.line) for problem in others if problem.line is not None]
    if not others:
        return first
    if not lines:
        return f"{first} (and {len(others)} more)"
    unnamed = [problem.what.split(" ")[0] for problem in others if problem.line is None]
    dots = ", ..." if len(lines) > _SHOWN_LINES else ""
    more = f" and {unnamed[0]} more lines" if unnamed else ""
    return f"{first} (also line {', '.join(lines[:_SHOWN_LINES])}{dots}{more})"


def some(names: Sequence[str]) -> str:
    """Return the first of many names, and how many more there are."""
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"


def readable(name: str) -> str:
    """Return a name that others chose, cut to a length, with control characters spelled out."""
    cut = name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "..."
    return printable(cut).replace("\n", r"\n")


def quoted(raw: bytes) -> str:
    """Return a value or id of a file in quotes, cut to a length, whatever its bytes are."""
    text = raw[: 4 * _LONGEST_VALUE].decode("utf-8", "backslashreplace")
    return repr(text) if len(text) <= _LONGEST_VALUE else repr(text[:_LONGEST_VALUE]) + "..."

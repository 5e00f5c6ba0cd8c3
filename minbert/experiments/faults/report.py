"""The scoreboard: what became of the injections, class by class, as a table and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minbert.experiments.faults.judge import (
    MISSED,
    NAMED,
    REFUSED,
    REPORTED,
    RESUMED,
    UNNOTICED,
    Verdict,
)
from minbert.reports.tables import Table

TITLE = "Injected faults"
_COLUMNS: Mapping[str, str] = {
    RESUMED: "resumed",
    REFUSED: "refused",
    NAMED: "named",
    REPORTED: "reported",
    UNNOTICED: "no effect",
}


@dataclass(frozen=True)
class Line:
    """A finished injection: its class, its name, its verdict, and the seconds that it took."""

    key: str
    group: str
    name: str
    verdict: Verdict
    seconds: float
    plain: bool = False

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Line:
        """A line as it was written down."""
        return cls(**{**row, "verdict": Verdict(**row["verdict"])})

    @property
    def failed(self) -> bool:
        """Whether something was lost or silent."""
        return bool(self.verdict.lost or self.verdict.silent)

    @property
    def counts(self) -> bool:
        """Whether the fault happened."""
        return self.verdict.outcome != MISSED


def table(lines: Sequence[Line], planned: int, seed: int) -> Table:
    """A row a class, and one for all."""
    groups = dict.fromkeys(line.group for line in lines)
    rows = [_row(group, [line for line in lines if line.group == group]) for group in groups]
    rows.append(_row("all", lines))
    header = ["fault", "injected", "lost", "silent", *_COLUMNS.values()]
    return Table(TITLE, header, rows, [*_notes(lines, planned, seed), *_failures(lines)])


def _row(name: str, lines: Sequence[Line]) -> list[str]:
    counted = [line for line in lines if line.counts]
    outcomes = Counter(line.verdict.outcome for line in counted)
    lost = sum(bool(line.verdict.lost) for line in counted)
    silent = sum(bool(line.verdict.silent) for line in counted)
    numbers = [len(counted), lost, silent, *(outcomes[outcome] for outcome in _COLUMNS)]
    return [name, *map(str, numbers)]


def _notes(lines: Sequence[Line], planned: int, seed: int) -> list[str]:
    minutes = sum(line.seconds for line in lines) / 60
    plain = sum(line.plain for line in lines)
    missed = sum(not line.counts for line in lines)
    notes = [
        f"Seed {seed}; {len(lines)} of {planned} injections, in {minutes:.0f} minutes; {plain} "
        "by a new interpreter, the others by a process forked from one that has loaded torch.",
        "Lost: after the same command with --resume the results differ from the undisturbed run's "
        "bytes, or more than one checkpoint interval was computed again. Silent: exit code 0 with "
        "other bytes, or no line that names the fault.",
        *(f"{word}: {outcome}." for outcome, word in _COLUMNS.items()),
    ]
    if missed:
        notes.append(f"{missed} faults never happened (the run was over before) and do not count.")
    return notes


def _failures(lines: Sequence[Line]) -> list[str]:
    return [
        f"{word}: {line.group}: {line.name}: {why}"
        for line in lines
        for word, why in (("lost", line.verdict.lost), ("silent", line.verdict.silent))
        if why
    ]

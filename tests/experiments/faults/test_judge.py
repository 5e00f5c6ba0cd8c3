"""The judge: what counts as lost and as silent."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from minbert.experiments.faults import judge
from minbert.experiments.faults.judge import Expected, Verdict, why_lost, why_silent
from minbert.experiments.faults.place import INTERVAL, Prepared
from minbert.experiments.faults.process import Ended
from minbert.experiments.faults.report import Line, table

OLD = {"predictions/a.csv": b"old a", "predictions/b.csv": b"old b"}
NEW = {"predictions/a.csv": b"new a", "predictions/b.csv": b"new b"}
CALM = {**NEW, "log": [{"step": 0}], "status": "finished"}
PREPARED = Prepared(CALM, OLD)
DISK = Expected(words="No space left")
KILL = Expected(signals=(signal.SIGKILL,))


@pytest.mark.parametrize(
    ("ended", "left", "expected", "silent"),
    [
        (Ended(-9, ""), OLD, KILL, ""),
        (Ended(-9, ""), {"predictions/b.csv": b"new b"}, KILL, ""),
        (Ended(-9, ""), {**OLD, "predictions/b.csv": b"new b"}, KILL, "two runs"),
        (Ended(-9, ""), OLD, DISK, "exit code -9, and no line"),
        (Ended(1, "error: [Errno 28] No space left on device: 'x'"), OLD, DISK, ""),
        (Ended(1, "error: something"), OLD, DISK, "exit code 1, and no line names the fault"),
        (Ended(1, "Traceback (most recent call last)\nNo space left"), OLD, DISK, "traceback"),
        (Ended(0, ""), CALM, DISK, ""),
        (Ended(0, ""), {**CALM, "log": []}, DISK, "exit code 0, and log differs"),
        (Ended(0, "warning: No space left"), {**CALM, "log": []}, DISK, "exit code 0"),
        (Ended(143, "stopped by SIGTERM; --resume goes on"), OLD, Expected(), ""),
        (Ended(143, ""), OLD, Expected(), "no line names the fault: nothing was printed"),
    ],
)
def test_silent_is_other_bytes_or_no_line(
    ended: Ended, left: dict[str, Any], expected: Expected, silent: str
) -> None:
    found = why_silent(ended, left, PREPARED, expected)
    assert silent in found and bool(silent) == bool(found)


def test_what_is_named_may_be_left_out_where_that_is_due() -> None:
    left, accepting = {**CALM, "log": []}, Expected(words="x.csv: 1 of 2", accepts=True)
    assert why_silent(Ended(0, "x.csv: 1 of 2 rows reported"), left, PREPARED, accepting) == ""
    assert why_silent(Ended(0, "all is well"), left, PREPARED, accepting)


@pytest.mark.parametrize(
    ("ended", "left", "again", "lost"),
    [
        (Ended(0, ""), CALM, 0, ""),
        (Ended(0, ""), CALM, INTERVAL, ""),
        (Ended(0, ""), CALM, INTERVAL + 1, "3 steps were computed again"),
        (Ended(0, ""), {**CALM, "predictions/a.csv": b"x"}, 0, "predictions/a.csv differ"),
        (Ended(0, ""), {**CALM, "predictions/c.csv": b"x"}, 0, "predictions/c.csv differ"),
        (Ended(0, ""), {k: v for k, v in CALM.items() if k != "log"}, 0, "log differ"),
        (Ended(2, "error: no"), CALM, 0, "--resume ended with exit code 2: error: no"),
    ],
)
def test_lost_is_other_bytes_or_more_than_an_interval(
    ended: Ended, left: dict[str, Any], again: int, lost: str
) -> None:
    found = why_lost(ended, left, PREPARED, again)
    assert lost in found and bool(lost) == bool(found)


def test_the_table_counts_what_happened_and_names_every_failure() -> None:
    verdicts = {
        "kill": [Verdict(judge.RESUMED)] * 3 + [Verdict(judge.FAILED, lost="8 steps")],
        "disk": [Verdict(judge.REFUSED), Verdict(judge.FAILED, silent="exit code 0")],
        "late": [Verdict(judge.UNNOTICED), Verdict(judge.MISSED)],
    }
    lines = [
        Line(f"{group}{number}", group, f"number {number}", verdict, 60.0)
        for group, own in verdicts.items()
        for number, verdict in enumerate(own)
    ]
    found = table(lines, 9, 5)
    assert [row[:6] for row in found.rows] == [
        ["kill", "4", "1", "0", "3", "0"],
        ["disk", "2", "0", "1", "0", "1"],
        ["late", "1", "0", "0", "0", "0"],
        ["all", "7", "1", "1", "3", "1"],
    ]
    text = found.markdown()
    assert "8 of 9 injections, in 8 minutes" in text
    assert "lost: kill: number 3: 8 steps" in text
    assert "silent: disk: number 1: exit code 0" in text
    assert "1 faults never happened" in text

"""The part of R3F's term that is noise comes from the logs of the runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minbert.experiments.equal.terms import TermPart, term_parts, terms_of
from minbert.experiments.grid.cells import Cell


def write_log(cell: Cell, out: Path, lines: list[dict]) -> None:
    folder = cell.folder(out) / "run"
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_means_are_over_the_lines_that_have_them(tmp_path: Path) -> None:
    cells = [Cell("noise", seed, "", f"key{seed}") for seed in (1, 2)]
    standard, never_ran = Cell("standard", 1, "", "other"), Cell("noise", 3, "", "never ran")
    probe = {"r3f_of_noise": 1.0, "r3f_of_dropout": 3.0}
    for number, cell in enumerate(cells):
        plain = {"step": 1, "task": "sst", "r3f": 2.0 + number}
        write_log(cell, tmp_path, [plain, {**plain, **probe}, {**plain, "task": "sts", "r3f": 7}])
    write_log(standard, tmp_path, [{"step": 1, "task": "sst", "loss": 1.0}])
    rows = {"noise": [*cells, never_ran], "standard": [standard]}
    sst, sts = term_parts({n: [terms_of(c, tmp_path) for c in own] for n, own in rows.items()})
    assert sst == TermPart("noise", "sst", 2.5, 1.0, 3.0)
    assert sst.noise_share == 0.25
    assert (sts.task, sts.term, sts.noise_share) == ("sts", pytest.approx(7), 0.0)

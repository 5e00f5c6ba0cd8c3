"""The file of finished runs: what is written is read, and nothing else is taken for a run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from minbert.experiments.equal.measured import Measured, read_file, write_file
from minbert.experiments.grid.cells import Cell
from minbert.support.errors import InputError
from tests.experiments.equal.runs import finished

RUN = dataclasses.replace(
    finished(Cell("R3F, noise only, σ = 1e-1", 11711, "--lr 1e-4", "0123"), sst=0.1 + 0.2, sts=-1),
    terms={"sst": [1.0, 2.0, 3.0], "sts": [0.0, 1e-300, 5.0]},
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    runs = [RUN, dataclasses.replace(RUN, key="4567", terms={})]
    write_file(tmp_path / "runs.jsonl", runs)
    assert read_file(tmp_path / "runs.jsonl") == runs


@pytest.mark.parametrize(
    "change",
    [
        {"scores": {"sst": 0.5}},
        {"scores": {"sst": "high", "sts": 0.5}},
        {"scores": 0.5},
        {"rows": {"sst": 1}},
        {"seconds": None},
        {"terms": {"sst": [1.0, 2.0, 3.0]}},
        {"terms": {"sst": [1.0, 2.0], "sts": [1.0, 2.0]}},
        {"terms": [1.0]},
        {"more": 1},
    ],
)
def test_another_line_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    check_refused(tmp_path, json.dumps(dataclasses.asdict(RUN) | change))


@pytest.mark.parametrize("line", ["", "{", "[]", "1", '{"key": "0123"}', "NaN"])
def test_what_is_no_run_is_named(tmp_path: Path, line: str) -> None:
    check_refused(tmp_path, line)


def check_refused(place: Path, line: str) -> None:
    write_file(path := place / "runs.jsonl", [RUN])
    with path.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match=r"runs\.jsonl:2: not a run"):
        read_file(path)


def test_a_run_without_a_field_is_no_run() -> None:
    record = dataclasses.asdict(RUN)
    del record["made_with"]
    with pytest.raises(TypeError):
        Measured.read(record)

"""Runs are grouped by what they share, and their scores averaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from minbert.experiments.summary import main, table


def manifest(seed: int, sst: float, *, smart: bool = False, status: str = "finished") -> Any:
    epochs = [{"train_seconds": 10.0 * seed, "dev_seconds": 2.0}]
    config = {"seed": seed, "smart": smart, "lr": 1e-5, "sst_dev_out": f"{seed}.csv"}
    return {"status": status, "config": config, "dev": {"sst": sst}, "epochs": epochs}


def test_runs_of_an_older_version_may_lack_a_setting() -> None:
    older = manifest(1, 0.5)
    del older["config"]["smart"]
    rows = table([older, manifest(2, 0.6, smart=True)]).splitlines()[4:]
    assert [row.split(" | ")[0] for row in rows] == ["| as the others have in common", "| --smart"]


def test_a_rate_of_the_heads_counts_where_it_is_another() -> None:
    older, newer, faster = (manifest(seed, 0.5) for seed in (1, 2, 3))
    newer["config"]["head_lr"], faster["config"]["head_lr"] = None, 1e-3
    rows = table([older, newer, faster]).splitlines()[4:]
    assert [row.split(" | ")[:2] for row in rows] == [
        ["| as the others have in common", "2"],
        ["| --head_lr 0.001", "1"],
    ]


def test_seeds_of_one_configuration_form_a_row() -> None:
    rows = table([manifest(1, 0.4), manifest(2, 0.6), manifest(3, 0.9, smart=True)]).splitlines()
    assert rows[4] == "| as the others have in common | 2 | 0.500 (0.141) | 15 | 2 |"
    assert rows[5] == "| --smart | 1 | 0.900 | 30 | 2 |"


@pytest.mark.parametrize("content", ["not json", "{}", "[]"])
def test_what_is_no_manifest_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(content)
    assert main([str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_that_has_not_finished_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(manifest(1, 0.4, status="running")))
    assert main([str(tmp_path)]) == 2


def test_where_a_run_computed_and_wrote_is_no_other_configuration() -> None:
    first, second = manifest(1, 0.4), manifest(2, 0.6)
    first["config"] |= {"threads": 1, "predictions_dir": "predictions"}
    second["config"] |= {"threads": None, "predictions_dir": "predictions-quick"}
    assert len(table([first, second]).splitlines()) == 5

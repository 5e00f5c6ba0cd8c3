"""Paired comparison of finished runs: a table, and only of what can be compared."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from minbert.experiments import compare as module
from minbert.experiments.compare import compare, main
from minbert.experiments.grid import finished
from minbert.experiments.grid.finished import FinishedRun
from minbert.finetune import cli
from minbert.training.record import read_finished
from minbert.training.run_folder import MANIFEST
from tests.helpers import TINY, no_report, save_encoder, write_course_files


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small runs."""
    place = tmp_path_factory.mktemp("runs")
    save_encoder(place / "encoder", TINY, initializer_range=0.3)
    write_course_files(place / "data")
    flags = [
        "--weights",
        str(place / "encoder"),
        "--data_dir",
        str(place / "data"),
        "--epochs",
        "1",
    ]
    outs = [
        f"--{t}_{s}_out={place}/p/{t}-{s}.csv"
        for t in ("sst", "para", "sts")
        for s in ("dev", "test")
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cli, "leave_report", no_report)
        for seed in ("1", "2", "3"):
            run = ["--seed", seed, "--output_dir", str(place / f"run{seed}")]
            assert cli.main([*flags, *outs, *run]) == 0
    return place


def test_runs_are_compared(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sides = ["--first", f"{runs}/run1", "--second", f"{runs}/run2"]
    assert main(sides) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[4:]] == ["| sst", "| para", "| sts"]


def test_a_run_equals_itself(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--first", f"{runs}/run1", "--second", f"{runs}/run1"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[4:]]
    assert all(row[3:] == ["+0.000", "1.0000", "–", "1.0000 |"] for row in rows)


def test_several_seeds_are_tested_with_their_noise(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("paired_permutation", "paired_bootstrap"):
        monkeypatch.setattr(module, name, partial(getattr(module, name), rounds=200))
    sides = [[runs / name for name in side] for side in (("run1", "run2"), ("run2", "run3"))]
    for one, swapped in zip(compare(*sides), compare(*sides[::-1]), strict=True):
        scores = [[read_finished(run)["dev"][one.task] for run in side] for side in sides]
        assert (one.first, one.second) == pytest.approx(tuple(map(np.mean, scores)))
        assert one.p_value == pytest.approx(swapped.p_value)
        assert one.seeds == 2 and 0 < one.p_value <= 1


def test_a_seed_that_is_given_twice_is_refused(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = f"{runs}/run1", f"{runs}/run2"
    assert main(["--first", one, other, "--second", one, one]) == 2
    assert "--second: two runs have one seed" in capsys.readouterr().err


def test_what_cannot_be_compared_is_one_line(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = f"{runs}/run1", f"{runs}/run2"
    for argv, words in (
        (["--first", one, other, "--second", one], "give as many"),
        (["--first", one, "--second", f"{runs}/nowhere"], "cannot be read"),
    ):
        assert main(argv) == 2
        assert words in capsys.readouterr().err


def test_other_numbers_of_dev_rows_cannot_be_compared(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "run1", tmp_path / "few")
    path = tmp_path / "few" / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["config"]["limit"] = 3
    path.write_text(json.dumps(manifest))
    assert main(["--first", f"{runs}/run1", "--second", str(path.parent)]) == 2
    assert "scored with another --limit" in capsys.readouterr().err


def test_a_dev_file_is_read_once(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = FinishedRun.read(runs / "run1")
    count = len(run.split("sts").examples)
    monkeypatch.setattr(finished, "read_rows", None)
    assert len(run.labels("sts")) == count


def test_another_dev_file_is_noticed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = runs / "data" / "ids-sst-dev.csv"
    before = path.read_bytes()
    path.write_bytes(before.replace(b"0.0", b"1.0", 1))
    try:
        assert main(["--first", f"{runs}/run1", "--second", f"{runs}/run3"]) == 2
    finally:
        path.write_bytes(before)
    assert "not the file that" in capsys.readouterr().err

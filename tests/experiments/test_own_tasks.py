"""A user's own task in what is done with finished runs and grids of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from minbert.experiments import compare, summary
from minbert.experiments.grid.cell import run_cell
from minbert.experiments.grid.cells import DEV, configuration, key_of, plan
from minbert.experiments.grid.experiment import SCALES
from minbert.experiments.grid.results import CellResult, gather
from minbert.experiments.tables import ablate
from minbert.finetune import cli
from minbert.support.errors import InputError
from minbert.support.signals import StopRequest
from minbert.tasks.registry import BUILT_IN, TASKS
from tests.helpers import TINY, save_encoder

TOML = """\
name = "mood"
title = "Moods"
kind = "binary"
texts = "text"
label = "mood"
labels = ["sad", "glad"]
[files]
train = "mood.csv"
dev = "mood.csv"
"""
FILE = ("--task_file", "mood.toml", "--weights", "encoder")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a task of one's own and a tiny encoder."""
    (tmp_path / "mood.toml").write_text(TOML)
    rows = "".join(
        f"a {'good' if n % 3 else 'bad'} film,{'glad' if n % 3 else 'sad'}\n" for n in range(18)
    )
    (tmp_path / "mood.csv").write_text(f"text,mood\n{rows}")
    save_encoder(tmp_path / "encoder", TINY, initializer_range=0.3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_grid_of_runs_on_a_task_of_ones_own(place: Path) -> None:
    grid = ablate.experiment(["batch_size=4,8"], FILE)
    assert grid.tasks == (*BUILT_IN, "mood")
    cells = plan(grid, SCALES["smoke"], 1, FILE)
    for cell in cells:
        assert run_cell(cell, place / "out", os.getppid(), StopRequest())
    results = {cell.key: CellResult.read(cell, place / "out") for cell in cells}
    for result in results.values():
        assert result is not None and result.scores.keys() == {"mood"}
        assert (result.folder / "predictions" / "finetune-mood-dev-out.csv").is_file()
        assert result.dev["mood_ids"].tolist() == [str(row) for row in range(1, 19)]
        assert result.dev["mood_labels"].tolist() == [float(n % 3 > 0) for n in range(18)]
    assert not (place / "predictions").exists()
    rows = gather(grid, cells, results)
    assert all(row.has("mood") and row.trains("mood") and not row.has("sst") for row in rows)
    assert np.isfinite(rows[0].predictions("mood")[0]).all()
    assert {path.name for path in (place / "out" / "cells").glob(f"*/{DEV}")} == {DEV}


def test_another_definition_is_another_cell(place: Path) -> None:
    first = key_of(configuration(" ".join(FILE)))
    for old, new, same in (
        ('title = "Moods"', 'title = "Feelings"', True),
        ('["sad", "glad"]', '["glad", "sad"]', False),
        ('texts = "text"', 'texts = "text"\nquotes = false', False),
    ):
        (place / "mood.toml").write_text(TOML.replace(old, new))
        assert (key_of(configuration(" ".join(FILE))) == first) == same
    (place / "mood.toml").write_text(TOML.replace('"binary"', '"regression"'))
    with pytest.raises(InputError, match=r"mood\.toml: labels are for classes"):
        ablate.experiment(["batch_size=4,8"], FILE)


def test_finished_runs_are_compared_without_the_file(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in ("1", "2"):
        job = ("--epochs", "1", "--seed", seed, "--output_dir", f"run{seed}")
        assert cli.main([*FILE, "--option", "finetune", *job]) == 0
    (place / "mood.toml").unlink()
    scores = [json.loads(Path(f"run{n}/manifest.json").read_text())["dev"]["mood"] for n in "12"]
    TASKS.pop("mood")
    capsys.readouterr()
    assert compare.main(["--first", "run1", "--second", "run2"]) == 0
    said = capsys.readouterr()
    assert f"| mood | {scores[0]:.3f} | {scores[1]:.3f} |" in said.out, said.err
    assert summary.main(["run1", "run2"]) == 0
    assert f"| {np.mean(scores):.3f} (" in capsys.readouterr().out


def test_runs_on_different_tasks_share_a_table() -> None:
    def manifest(task: str) -> dict[str, object]:
        epochs = [{"train_seconds": 1.0, "dev_seconds": 1.0}]
        return {"config": {"seed": 1, "tasks": [task]}, "dev": {task: 0.5}, "epochs": epochs}

    rows = summary.table([manifest("mood"), manifest("sst")]).splitlines()
    assert "| mood | sst |" in rows[2]
    assert [row.split(" | ")[2:4] for row in rows[4:6]] == [["0.500", "–"], ["–", "0.500"]]

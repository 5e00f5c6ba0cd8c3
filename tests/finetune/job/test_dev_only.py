"""Runs that only score: no prediction files, no other task, and rows that did not train."""

from __future__ import annotations

from pathlib import Path

import pytest

from minbert.experiments.grid.finished import FinishedRun
from tests.finetune.job.running import complaint, ids_of, manifest, run

SMALL = ("--option", "finetune", "--tasks", "sst,sts", "--rrobin", "--dev_only")
DRAWN = ("--limit_train", "8", "--batch_size", "4")


def test_it_needs_the_files_of_what_trains_alone_and_writes_no_predictions(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (place / "data").iterdir():
        if "test" in path.name or not path.name.startswith(("ids-sst-", "sts-")):
            path.unlink()
    assert run(*SMALL) == 0
    assert set(manifest()["dev"]) == {"sst", "sts"}
    assert not (place / "predictions").exists()
    printed = capsys.readouterr()
    said = [line.split()[0] for line in printed.out.splitlines()]
    assert said == ["dev", "sst", "sts", "padded"]


def test_a_single_task_too(place: Path) -> None:
    assert run("--tasks", "cfimdb", "--dev_only") == 0
    assert set(manifest()["dev"]) == {"cfimdb"}
    assert not (place / "predictions").exists()


def test_the_rest_of_the_train_file_is_scored(place: Path) -> None:
    for task in ("ids-sst", "sts"):
        (place / "data" / f"{task}-dev.csv").unlink()
    assert run(*SMALL, *DRAWN, "--dev_rows", "rest", "--limit_train_seed", "3") == 0
    finished = FinishedRun.read(place / "out")
    for task, stem in (("sst", "ids-sst"), ("sts", "sts")):
        every = list(ids_of(place / "data" / f"{stem}-train.csv"))
        scored = [example.id for example in finished.split(task).examples]
        assert len(scored) == len(every) - 8 == len(finished.predictions[task])
        assert set(scored) < set(every)
    assert set(finished.dev_hashes) == {"sst_train", "sts_train"}


def test_the_last_model_is_kept_and_said_so(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*SMALL, "--keep", "last", "--epochs", "3") == 0
    assert "dev scores of the last epoch (3)" in capsys.readouterr().out
    assert [epoch["epoch"] for epoch in manifest()["epochs"]] == [3]


def test_a_draw_of_all_rows_leaves_nothing_to_score(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*SMALL, "--limit_train", "99", "--dev_rows", "rest") == 2
    assert "a draw of 99 rows leaves none to score" in complaint(capsys)

"""The command from start to end: two stages, a report, and nothing run twice."""

from __future__ import annotations

import csv
import os
import re
import shutil
from functools import cache
from pathlib import Path

import pytest

from minbert.experiments.__main__ import main
from minbert.experiments.equal import budget
from minbert.experiments.equal.measured import write_file
from minbert.experiments.grid import runner
from minbert.experiments.grid.cell import run_cell
from minbert.experiments.grid.cells import Cell
from minbert.support.errors import RunError
from minbert.support.signals import StopRequest
from tests.experiments.equal.runs import finished
from tests.experiments.grids import Place
from tests.helpers import write_course_files


class Ended:
    """The process of a cell that has run."""

    def poll(self) -> int:
        return 0


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run cells here: a process for each takes seconds to start."""

    def launch(cell: Cell, out: Path, _threads: int) -> Ended:
        cell.folder(out).mkdir(parents=True, exist_ok=True)
        run_cell(cell, out, os.getppid(), StopRequest())
        return Ended()

    monkeypatch.setattr(runner, "launch", launch)
    monkeypatch.setattr(runner, "_LOOK", 0.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place.make(tmp_path_factory.mktemp("equal"))
    write_course_files(place.root / "data", rows=40)
    return place


def command(place: Place, *more: str, out: Path | None = None) -> list[str]:
    size = ["--train_rows", "16", "--budget", "12"]
    arms = ["--rows", "standard", "R3F, noise only"]
    return ["equal", *size, *arms, "--out", str(out or place.out), *more, "--", *place.extra]


def test_both_stages_run_and_the_report_has_everything(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "units_a_step", cache(budget.units_a_step))  # a second a count
    assert main(command(place)) == 0
    printed, said = capsys.readouterr()
    assert re.search(r"standard: 3\.\d\d forward units a step, \d+ steps, 1[12]\.\d\d unit", said)
    assert "tuned: standard, rate 0.0001" in said
    (page,) = place.out.glob("equal-smoke-*.md")
    text = page.read_text()
    assert text in printed
    assert text.startswith("At 12 unit-epochs of 16 rows a task, over 2 draws and 2 comparisons")
    for title in ("Scores at equal", "Differences", "The noise of one score", "Tuning", "R3F's"):
        assert f"### {title}" in text
    assert "R3F, noise only, σ = 1e-1, rate 0.0001 | SST" in text
    with page.with_suffix(".csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 2 * 2  # arms, tasks, draws
    assert {(row["arm"], row["draw"]) for row in rows} == {
        (arm, draw) for arm in ("standard", "R3F, noise only") for draw in ("11711", "11712")
    }
    report = place.out / f"{page.stem}.html"
    assert printed.splitlines()[-1] == f"report: {report}"
    assert "score against units" in report.read_text()

    def nothing(*_: object) -> None:
        raise AssertionError("run again")

    monkeypatch.setattr(runner, "launch", nothing)
    assert main(command(place)) == 0
    again = capsys.readouterr().out
    assert again.startswith(text) and page.read_text() == text
    assert again.splitlines()[-1] == printed.splitlines()[-1]

    carried = place.root / "carried.jsonl"
    shutil.copy(place.out / "runs.jsonl", carried)
    elsewhere = place.root / "elsewhere"
    assert main(command(place, "--known", str(carried), out=elsewhere)) == 0
    assert capsys.readouterr().out.startswith(text)
    assert (elsewhere / "runs.jsonl").read_bytes() == carried.read_bytes()


def test_runs_of_another_experiment_are_made_again(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "units_a_step", lambda _command: 6.0)
    other = Cell("standard, rate 0.0001", 11711, "", "another key")
    write_file(known := place.root / "other.jsonl", [finished(other, sst=0.5, sts=0.5)])

    def stop(self: runner.Runner, _title: str) -> None:
        assert len(self._pending) == 6  # configurations, all of tuning
        raise RunError("enough")

    monkeypatch.setattr(runner.Runner, "run", stop)
    assert main(command(place, "--lowest_rate", "0.02", "--known", str(known))) == 1
    assert f"tuning: 0 of its runs are in {known}" in capsys.readouterr().err


def test_a_failure_in_tuning_ends_before_the_comparison(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: runner.Runner, _title: str) -> None:
        self.failed = {cell.key: "no luck" for cell in self._pending}

    monkeypatch.setattr(runner.Runner, "run", fail)
    monkeypatch.setattr(budget, "units_a_step", lambda _command: 6.0)
    assert main(command(place, "--lowest_rate", "0.01")) == 1
    out, err = capsys.readouterr()
    assert "tuning has to be whole; the same command tries it again" in err
    assert "no luck (" in err and out == ""


@pytest.mark.parametrize("flag", ["--epochs", "--budget"])
def test_epochs_are_the_budgets(
    place: Place, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    assert main(["equal", flag, "0" if flag == "--budget" else "3"]) == 2
    assert flag in capsys.readouterr().err


def test_the_page_of_the_design_names_what_the_command_does() -> None:
    page = (Path(__file__).parents[3] / "docs" / "equal-compute.md").read_text(encoding="utf-8")
    for flags in (
        "--r3f --r3f_sigma 0 --r3f_dropout independent",
        "--keep last",
        "--dev_rows rest",
    ):
        assert flags in page

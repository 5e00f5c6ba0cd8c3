"""The R3F paper's Table 2 as a grid: its figures, its settings, rates that standard chooses."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from minbert.experiments.__main__ import main
from minbert.experiments.grid import runner
from minbert.experiments.grid.cells import Cell
from minbert.experiments.grid.columns import Column
from minbert.experiments.tables import glue
from minbert.experiments.tables.glue import GlueConfig
from minbert.experiments.tables.seeds import METHODS
from minbert.finetune import cli
from minbert.finetune.config import RunConfig
from tests.experiments.grids import Place, write_any_result
from tests.finetune import glue_files

MEDIANS = """
standard 90.2    -    91.9  -    86.6 92.1 84.4 66.2 96.4
STD++    90.8    -    92.1  -    87.4 92.5 89.1 68.4 96.9
SMART    90.85   91.1 91.7  88.2 89.5 94.8 83.9 69.4 96.6
R3F      91.1    91.1 92.1  88.4 88.4 95.1 91.2 70.6 96.2
R4F      90.0    90.6 91.8  88.2 88.3 94.8 90.1 70.1 96.8
"""
HEADINGS = """MNLI accuracy|MNLI mismatched accuracy|QQP accuracy|QQP F1|RTE accuracy|QNLI accuracy|
MRPC accuracy|CoLA Matthews correlation|SST-2 accuracy""".replace("\n", "").split("|")
TABLE_5 = {  # learning rate, updates, rows of a batch
    "mnli": (5e-6, 123873, 8),
    "qnli": (5e-6, 33112, 8),
    "qqp": (5e-6, 113272, 32),
    "sst2": (5e-6, 20935, 32),
    "rte": (1e-5, 3120, 8),
    "mrpc": (1e-5, 2296, 16),
    "cola": (1e-5, 5336, 16),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place.make(tmp_path_factory.mktemp("glue"))
    for task in TABLE_5:
        glue_files.write(made.root / "glue", task)
    return made


def weights(place: Place) -> list[str]:
    return place.extra[:2]


def config(place: Place, **more: object) -> GlueConfig:
    return GlueConfig(glue_dir=str(place.root / "glue"), out=str(place.out), **more)  # type: ignore[arg-type]


def parsed(command: str, place: Place) -> RunConfig:
    return cli.parse([*shlex.split(command), *weights(place)])  # no flag is idle


def words(place: Place, *more: str) -> list[str]:
    folder = ["--glue_dir", str(place.root / "glue"), "--out", str(place.out)]
    return ["glue", *folder, *more, "--", *weights(place)]


def test_the_papers_medians_stand_beside_its_rows(place: Place) -> None:
    table = glue.experiment(config(place), weights(place))
    names = {Column.read(name).heading: name for name in table.columns}
    rows = {row.name: row.published for row in table.rows}
    for line in MEDIANS.strip().splitlines():
        row, *figures = line.split()
        for heading, figure in zip(HEADINGS, figures, strict=True):
            found = rows[row].get(names[heading])
            assert found == (None if figure == "-" else pytest.approx(float(figure) / 100))
    assert not rows["FreeLB"]
    assert "FreeLB MNLI 0.906" in table.notes[0]


def test_as_published_is_table_5_and_6(place: Place) -> None:
    table = glue.experiment(config(place, settings="as-published", scale="full"), weights(place))
    for row in table.rows:
        assert len(row.commands) == len(TABLE_5)
        for command in row.commands:
            run = parsed(command, place)
            (task,) = run.trained_tasks
            twice = 2 if row.name == "STD++" else 1
            lr, updates, batch = TABLE_5[task]
            assert (run.lr, run.max_steps, run.batch_size) == (lr, twice * updates, batch)
            assert run.epochs is not None and run.epochs * max(1, 12 // batch) >= twice * updates
            assert (run.betas, run.weight_decay, run.warmup) == ((0.9, 0.98), 0.01, 0.06)
            assert (run.schedule, run.power, run.adam_eps) == ("polynomial", 1.0, 1e-6)
            assert run.hidden_dropout_prob == 0.1
            assert run.cross_encoder == (task not in ("cola", "sst2"))
            assert METHODS[row.name][0].strip("-") in ("", "stdpp", *_switches(run))


def _switches(run: RunConfig) -> list[str]:
    return [name for name in ("smart", "r3f", "r4f", "freelb") if getattr(run, name)]


def test_rows_differ_by_their_method_alone(place: Place) -> None:
    table = glue.experiment(config(place, tasks=("rte",)), weights(place))
    commands = {row.name: set(row.commands[0].split()) for row in table.rows}
    for name in ("SMART", "R3F", "R4F", "FreeLB"):
        assert commands[name] - commands["standard"] == {METHODS[name][0]}
    assert commands["STD++"] ^ commands["standard"] == {"1", "2"}  # epochs


def test_the_courses_sts_has_its_own_files_beside_glues(place: Place) -> None:
    folder = str(place.root / "data")
    some = config(place, tasks=("rte", "sts"), data_dir=folder, settings="as-published")
    runs = [parsed(c, place) for c in glue.experiment(some, weights(place)).rows[0].commands]
    assert [run.trained_tasks for run in runs] == [("rte",), ("sts",)]
    assert runs[1].file("sts", "train").startswith(folder)
    assert (runs[1].lr, runs[1].batch_size) == (2e-5, 16)  # of STS-B in RoBERTa's scripts


def test_updates_may_be_given_for_some_tasks(place: Place) -> None:
    some = config(place, tasks=("rte", "mrpc"), updates={"rte": 7})
    runs = [parsed(c, place) for c in glue.experiment(some, weights(place)).rows[0].commands]
    assert [run.max_steps for run in runs] == [7, None]


def test_standard_chooses_the_rate_of_all_rows_for_each_task(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 3e-4 the made-up runs of RTE are best, at 1e-4 those of CoLA."""
    best = {"rte": 0.0003, "cola": 0.0001}

    def made_up(self: runner.Runner, title: str) -> None:
        for cell in self._pending:
            run = parsed(cell.command, place)
            (task,) = run.trained_tasks
            right = 1.0 if title == "rates" and run.lr == best[task] else 0.75
            _write(cell, self._out, run, right)
        self._pending = []

    monkeypatch.setattr(runner.Runner, "run", made_up)
    some = ["--tasks", "rte", "cola", "--rates", "1e-4", "3e-4", "--rows", "standard", "R3F"]
    assert main(words(place, *some, "--seeds", "2")) == 0
    text, _ = capsys.readouterr()
    commands = [line for line in text.splitlines() if "multitask_classifier.py" in line]
    assert len(commands) == 4
    for line in commands:
        assert ("--lr 3e-4" in line) == ("--tasks rte" in line)
        assert ("--lr 1e-4" in line) == ("--tasks cola" in line)
    assert "with seed 12711: RTE 3e-4 (1e-4: 0.750, 3e-4: 1.000); CoLA 1e-4 (" in text
    assert "| R3F | 2 | 0.750 ± 0.000" in text
    assert "R3F − standard | CoLA | 2 |" in text


def _write(cell: Cell, out: Path, run: RunConfig, right: float) -> None:
    (task,) = run.trained_tasks
    labels = np.arange(40) % 2.0
    wrong = np.arange(40) >= 40 * right
    wrong = wrong[::-1] if run.r3f else wrong  # other answers, as good
    write_any_result(cell, out, run, {task: (np.where(wrong, 1 - labels, labels), labels)})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tasks", "rte", "nli"], "--tasks nli: not one of mnli, qqp"),
        (["--tasks", "rte", "rte"], "a task is named twice"),
        (["--rates", "1e-4", "fast"], "--rates fast: must be a number above 0"),
        (["--rates", "1e-4", "0.0001"], "a rate is named twice"),
        (["--updates", "0"], "must be 1 or more"),
        (["--tasks", "stsb"], "of stsb: no such file"),
        (["--tasks", "rte", "--rows", "best"], "no such row; there are: standard"),
    ],
)
def test_wrong_usage_is_one_line(
    place: Place,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(runner.Runner, "run", lambda *_: None)
    assert main(words(place, *flags)) == 2
    out, err = capsys.readouterr()
    assert message in err.splitlines()[-1] and not out


def test_without_a_folder_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["glue"]) == 2
    assert "give --glue_dir" in capsys.readouterr().err
    assert main(["glue", "--tasks", "rte"]) == 2
    assert "--tasks rte: give --glue_dir" in capsys.readouterr().err

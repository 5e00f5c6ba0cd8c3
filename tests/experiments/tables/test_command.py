"""The commands as typed: a table on stdout, one line an error, the right exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from minbert.experiments.__main__ import COMMANDS, main
from minbert.experiments.grid import experiment, runner
from minbert.experiments.grid.cells import Cell
from minbert.experiments.grid.config import GridConfig
from minbert.experiments.tables import seeds
from minbert.experiments.tables.command import Grid
from tests.experiments.grids import Place
from tests.forked import ForkedCell
from tests.helpers import ROOT


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place.make(tmp_path_factory.mktemp("grid"))


def out(place: Place) -> list[str]:
    return ["--out", str(place.out)]


def flags(place: Place) -> list[str]:
    return [*out(place), "--rows", "finetune default"]


def test_a_table_is_made_and_made_again_without_a_run(
    place: Place,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    forking: ForkServerContext,
) -> None:
    monkeypatch.setattr(runner, "launch", partial(ForkedCell, forking))
    command = ["table2", *flags(place), "--", *place.extra]
    assert main(command) == 0
    table, _ = capsys.readouterr()
    assert "| finetune default | 1 | 0." in table
    assert "| 0.525 | 0.522 | 0.240 | 25 |" in table
    assert "--seed 11711" in table
    (path,) = place.out.glob("table2-matched-smoke-*.md")
    assert path.read_text() in table
    (page,) = place.out.glob("table2-matched-smoke-*.html")
    assert table.splitlines()[-1] == f"report: {page}"
    assert "Incomplete" not in page.read_text()

    def nothing(*_: object) -> None:
        raise AssertionError("run again")

    monkeypatch.setattr(runner, "launch", nothing)
    assert main(command) == 0
    assert capsys.readouterr().out == table


def test_a_failed_run_is_exit_code_1_after_the_tables(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: runner.Runner, _title: str) -> None:
        self.failed = {cell.key: "no luck" for cell in self._pending}

    monkeypatch.setattr(runner.Runner, "run", fail)
    assert main(["table2", *flags(place), "--seeds", "2", "--", *place.extra]) == 1
    out, err = capsys.readouterr()
    assert "| finetune default |" in out
    assert "failed: finetune default, seed 11712: no luck (" in err
    assert "the same command tries them again" in err
    page = Path(out.splitlines()[-1].removeprefix("report: ")).read_text()
    assert "Incomplete report" in page
    assert "finetune default, seed 11712: not finished" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no command given"),
        (["tabel1"], "no such command"),
        (["table2", "--rows", "x"], "no such row; there are: pretrain default"),
        (["table2", "--scale", "tiny"], "invalid choice"),
        (["table2", "--seeds", "0"], "must be 1 or more"),
        (["table2", "--minutes", "5"], "needs --cluster"),
        (["table2", "--cluster", "local", "--partition", "x"], "needs --cluster slurm"),
        (["table2", "--cluster", "local", "--cpus", "2"], "needs --cluster slurm"),
        (["table2", "--gpus", "2"], "needs --cluster"),
        (
            ["table2", "--cluster", "slurm", "--gpus", "4"],
            "--gpus 4: a run takes a GPU for each of its ranks, and has 1; add --ranks 4 after --",
        ),
        (
            ["table2", "--cluster", "slurm", "--gpus", "2", "--", "--ranks", "4"],
            "and has 4; add --ranks 2 after --, or ask for --gpus 4",
        ),
        (["table1", "--as-published"], "unrecognized arguments"),
        (["ablate"], "give --over"),
        (["ablate", "--over", "nonsense"], "no flag --nonsense"),
        (["seeds", "--", "--seed", "3"], "decided by the experiment"),
        (["table2", "--", "--option", "pretrain"], "row 'pretrain default' has its own"),
        (["table2", "--", "--smart"], "row 'finetune smart' has its own"),
        (["table2", "--as-published", "--", "--batch_size=8"], "'pretrain default' has its own"),
        (["table1", "--", "--tasks", "sst"], "row 'pretrain' has its own"),
        (["ablate", "--over", "epochs=1,2", "--epochs", "3"], "--epochs 3 would do nothing"),
        (["ablate", "--over", "seed=1,2"], "row '--seed 1': --seed is decided"),
        (["seeds", "--", "--weights", "nowhere"], "no such folder"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    words: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner.Runner, "run", lambda *_: None)  # where a mistake is not noticed
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in err
    assert not out


def test_a_file_in_the_way_of_the_folder_is_named(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    words = ["--rows", "finetune default", "--out", str(tmp_path / "file")]
    assert main(["table2", *words, "--", *place.extra]) == 2
    assert "cannot be written (File exists)" in capsys.readouterr().err


def test_as_published_is_short_for_its_settings(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner.Runner, "run", lambda *_: None)
    words = ["--as-published", "--rows", "finetune smart", "--out", str(place.out)]
    assert main(["table2", *words, "--", *place.extra]) == 0
    flags = "--batch_size 16 --clip 1 --bregman_dropout independent --epochs 1"
    assert flags in capsys.readouterr().out
    assert len(list(place.out.glob("table2-as-published-smoke-*.csv"))) == 1


def test_other_flags_are_another_table(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner.Runner, "run", lambda *_: None)
    words = ["table2", "--rows", "finetune smart", "--out", str(tmp_path), "--", *place.extra]
    for extra in ([], [], ["--pooling", "mean"]):
        assert main([*words, *extra]) == 0
    assert len(list(tmp_path.glob("*.md"))) == 2


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {name} " in said for name in COMMANDS)
    for name in COMMANDS:
        with pytest.raises(SystemExit) as caught:
            main([name, "--help"])
        assert caught.value.code == 0


def test_the_script_passes_flags_and_exit_codes_on_and_stays_in_the_callers_folder(
    tmp_path: Path,
) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    (tmp_path / "mine").mkdir()
    done = subprocess.run(
        [str(ROOT / "run_experiments.sh"), "--", "--weights", "mine"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 2
    assert "no such folder" not in done.stderr
    assert "error: mine" in done.stderr


def test_epochs_and_seeds_may_be_given_in_place_of_the_scales(place: Place) -> None:
    config = GridConfig(scale="smoke", epochs=3, seeds=2)
    row = experiment.GridRow("stdpp", ("--option finetune --stdpp",))
    planned = Grid.planned(experiment.Experiment("x", "X", ("sst",), (row,)), config, place.extra)
    assert [cell.seed for cell in planned.cells] == [experiment.BASE_SEED, experiment.BASE_SEED + 1]
    assert all("--epochs 6 --limit 128 " in cell.command for cell in planned.cells)


def test_epochs_of_an_axis_are_the_rows_own(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner.Runner, "run", lambda *_: None)
    assert main(["ablate", "--over", "epochs=2,3", *out(place), "--", *place.extra]) == 0
    text, _ = capsys.readouterr()
    assert "--epochs 2 --limit 128" in text and "--epochs 3 --limit 128" in text
    page = Path(text.splitlines()[-1].removeprefix("report: ")).read_text()
    assert "epochs: as the rows say" in page


def test_scales_grow() -> None:
    smoke, small, full = (experiment.SCALES[name] for name in ("smoke", "small", "full"))
    assert smoke.epochs <= small.epochs <= full.epochs
    assert smoke.seeds <= small.seeds <= full.seeds
    assert smoke.limit is not None and small.limit is not None and smoke.limit < small.limit
    assert full.limit is None
    assert Cell("a", 1, "", "k").name == "a, seed 1"


def test_the_time_left_knows_what_smart_costs() -> None:
    """The ledger's units of a step: both terms, dropout off."""
    costs = {row.name: row.cost for row in seeds.experiment().rows}
    assert costs == {"standard": 3, "STD++": 6, "SMART": 12, "R3F": 6, "R4F": 6, "FreeLB": 6}

"""Every published table by one command: one report, what fails is said in it, nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from minbert.experiments import all as everything
from minbert.experiments.__main__ import main
from minbert.experiments.cost import command, section
from minbert.experiments.cost.methods import METHODS
from minbert.experiments.cost.section import CostPart
from minbert.experiments.grid.runner import Runner
from minbert.support.errors import RunError, Stopped
from tests.experiments.grids import Place
from tests.helpers import TINY, save_encoder, write_course_files

FEW = tuple(m for m in METHODS if m.name in ("standard", "R3F, shared"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place.make(tmp_path_factory.mktemp("all"))
    write_course_files(made.root / "data", rows=20, tasks=("sst", "para", "sts", "cfimdb"))
    return made


@pytest.fixture(autouse=True)
def no_runs_and_few_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runner, "run", lambda *_: None)
    monkeypatch.setattr(command, "METHODS", FEW)


def words(place: Place, out: Path, *more: str) -> list[str]:
    return ["all", "--out", str(out), *more, "--", *place.extra]


def test_one_report_has_all_tables_and_says_what_is_missing(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(place, tmp_path)) == 1
    out, err = capsys.readouterr()
    (page,) = tmp_path.glob("*.html")
    assert out.splitlines()[-1] == f"report: {page}"
    text = page.read_text()
    for title in ("Table 1: single tasks", "Table 2, matched", "Cost"):
        assert f">{title}" in text
    assert "Incomplete report" in text and "finetune rrobin-full+rlayer, seed 11711" in text
    assert "0.867" in text and "R3F, shared" in text  # published figures, and the costs
    assert "13 results are missing" in err
    for kind, count in (("md", 3), ("csv", 3), ("tex", 3)):
        assert len(list(tmp_path.glob(f"*.{kind}"))) == count


def test_a_part_that_fails_does_not_take_the_others_along(
    place: Place,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_self: object) -> None:
        raise RunError("no <luck>")

    monkeypatch.setattr(CostPart, "run", fail)
    assert main(words(place, tmp_path)) == 1
    assert "failed: Cost: no <luck>" in capsys.readouterr().err
    (page,) = tmp_path.glob("*.html")
    assert "Cost: no &lt;luck&gt;" in page.read_text()


def test_a_signal_ends_it(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise Stopped(15)

    monkeypatch.setattr(Runner, "run", stop)
    assert main(words(place, tmp_path)) == 143
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--rows", "finetune"], "give it to table1 or table2"),
        (["--scale", "tiny"], "invalid choice"),
    ],
)
def test_mistakes_are_said_before_anything_is_run(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(words(place, tmp_path, *more)) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_costs_are_measured_once(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "METHODS", FEW[:1])
    monkeypatch.setattr(command, "peak_of_first_steps", lambda *_: 1)  # a process for each
    first = CostPart.planned("smoke", place.extra, tmp_path).run()
    (ledger,) = tmp_path.glob("*.json")
    assert json.loads(ledger.read_text())["examples"] == 4
    damaged = ledger.read_text()[:-99]

    def nothing(*_: object) -> None:
        raise AssertionError("measured again")

    with monkeypatch.context() as patched:
        patched.setattr(command, "measure", nothing)
        assert CostPart.planned("smoke", place.extra, tmp_path).run() == first
    for text in (damaged, '{"methods": []}'):
        ledger.write_text(text)
        CostPart.planned("smoke", place.extra, tmp_path).run()
        assert json.loads(ledger.read_text())["examples"] == 4


def test_costs_of_another_machine_or_of_other_methods_are_not_taken(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name() -> str:
        return CostPart.planned("smoke", place.extra, tmp_path).name

    assert name() == (before := name())
    with monkeypatch.context() as patched:
        patched.setattr(section.platform, "node", lambda: "elsewhere")
        assert name() != before
    monkeypatch.setattr(section, "METHODS", FEW)
    assert name() != before


def test_the_scale_decides_what_is_measured(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = save_encoder(tmp_path / "bundled", TINY)
    monkeypatch.setattr(section, "BUNDLED_ENCODER", bundled)
    data = place.extra[2:]
    parts = [CostPart.planned(scale, data, tmp_path) for scale in ("smoke", "small", "full")]
    sizes = [part.config.batch_size for part in parts]
    assert sizes == sorted(set(sizes))
    assert parts[0].job.weights == str(bundled)
    assert parts[1].config.weights is None
    own = CostPart.planned("smoke", [*place.extra, "--batch_size", "3", "--lr", "1"], tmp_path)
    assert (own.config.batch_size, own.job.weights) == (3, place.extra[1])
    assert "--batch_size 3" in own.command and "--lr" not in own.command


def test_what_only_asks_for_help_does_not_load_the_plots() -> None:
    code = "import sys; import minbert.experiments.all; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert callable(everything.main)

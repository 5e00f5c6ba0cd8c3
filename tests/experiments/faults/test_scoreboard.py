"""The scoreboard of faults: nothing is lost in this build, and much in one that is weakened."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from minbert.experiments.__main__ import main
from minbert.experiments.faults import command, plans
from minbert.experiments.faults.place import Prepared, Site
from minbert.experiments.faults.playing import play
from minbert.experiments.faults.process import Order
from tests.experiments.faults.places import site, sources, without_flushes, without_hashes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("only", "least"),
    [(["--only", "kills"], 2), ([], 15)],
    ids=["kills", "all classes"],
)
def test_a_quick_round_loses_nothing_and_tells_it_in_three_formats(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], only: list[str], least: int
) -> None:
    out = tmp_path / "faults"
    flags = ["faults", "--quick", *only, "--output_dir", str(out)]
    assert main([*flags, "--limit", "1"]) == 0
    assert main(flags) == 2  # it holds an injection, which must not be forgotten
    assert "go on by --resume" in capsys.readouterr().err
    assert main([*flags, "--resume"]) == 0
    printed = capsys.readouterr().out
    rows = [json.loads(line) for line in (out / "injections.jsonl").read_text().splitlines()]
    assert len(rows) == len({row["key"] for row in rows}) == json_of(out)["planned"] >= least
    assert (out / "faults.md").read_text() == printed
    assert json_of(out)["injections"] == rows
    total = next(line for line in printed.splitlines() if line.startswith("| all |"))
    assert total.split("|")[3:5] == [" 0 ", " 0 "]
    assert not (out / "failed").exists()


def json_of(out: Path) -> dict:
    return json.loads((out / "faults.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("life", "plan", "chosen"),
    [
        (without_flushes, plans._power_cuts, lambda name: "(contents)" in name),
        (without_hashes, plans._checkpoints, lambda name: "8: out/step" in name and "flip" in name),
    ],
    ids=["without flushes", "without hashes"],
)
def test_a_weakened_build_is_found_out(
    tmp_path: Path,
    life: Callable[[Order], None],
    plan: Callable,
    chosen: Callable[[str], bool],
) -> None:
    weak = site(tmp_path, life)
    prepared = weak.prepare()
    injections = [each for each in plan(sources(weak), 100) if chosen(each.name)]
    verdicts = (play(weak, prepared, each) for each in injections[:12])
    assert any(verdict.lost or verdict.silent for verdict in verdicts)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Prepared]:
    """A site of the build as it is, with the results of the run without a fault."""
    own = site(tmp_path_factory.mktemp("site"))
    return own, own.prepare()


@pytest.mark.slow
def test_every_class_is_large_enough_and_operations_are_distinct(
    place: tuple[Site, Prepared],
) -> None:
    counts = {entry.name: entry.count for entry in plans.CLASSES}
    assert sum(counts.values()) >= 1500
    assert min(counts.values()) >= 50
    assert min(counts[name] for name in ("kills", "enospc", "eio")) >= 250
    assert 15 <= sum(entry.quick for entry in plans.CLASSES) <= 35
    planned = plans.planned(lambda name: sources(place[0], len(name)), only=(), quick=False)
    assert len(planned) >= 1500
    for group in ("SIGKILL", "ENOSPC", "EIO"):
        own = [each for each in planned if each.group.startswith(group)]
        moments = {(each.template, each.fault.operation) for each in own}
        assert len(moments) >= 250
    assert sum(each.plain for each in planned) >= 30


def test_a_killed_scoreboard_goes_on_where_it_was(tmp_path: Path) -> None:
    out = tmp_path / "faults"
    out.mkdir()
    verdict = {"outcome": "lost or silent", "lost": "12 steps", "silent": ""}
    row = {"key": "a", "group": "g", "name": "n", "verdict": verdict, "seconds": 1.0}
    again = {**row, "verdict": {**verdict, "outcome": "fine", "lost": ""}}
    path = out / "injections.jsonl"
    path.write_text(f'{json.dumps(row)}\n{json.dumps(again)}\n{{"key": "half a li')
    (line,) = command._done(out, resume=True)
    assert line.key == "a" and not line.failed  # it was mended and played again
    assert path.read_text().endswith("}\n")
    path.write_text("{")
    assert command._done(out, resume=True) == [] and path.read_text() == ""
    path.unlink()
    (out / "thesis.tex").write_text("years of work")
    assert main(["faults", "--output_dir", str(out)]) == 2
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_an_unknown_class_is_named_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["faults", "--only", "earthquakes", "--output_dir", str(tmp_path / "o")]) == 2
    assert "--only earthquakes: no such class; there are kills, " in capsys.readouterr().err


@pytest.mark.slow
def test_a_fork_and_a_new_interpreter_end_alike(place: tuple[Site, Prepared]) -> None:
    (kill,) = itertools.islice(plans._kills(sources(place[0]), 5), 1)
    both = [play(*place, replace(kill, plain=plain)) for plain in (False, True)]
    assert both[0] == both[1] and not both[0].lost

"""The plan of a chain: what builds on what, which names that gives, and a kill in its middle."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minbert.experiments.grid import cells
from minbert.experiments.grid.cells import RESULT
from minbert.experiments.probe.chain import Plan, plan
from minbert.experiments.probe.config import ProbeConfig
from minbert.experiments.probe.steps import FEATURES, LINK, PROBES, Step
from tests.experiments.grids import Place
from tests.experiments.probe.chains import command
from tests.helpers import ROOT


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place.make(tmp_path_factory.mktemp("chain"))


def planned(place: Place, *more: str, **changes: object) -> Plan:
    settings = {"chain": ("sst", "para"), "probe_tasks": ("sts",), **changes}
    return plan(ProbeConfig(**settings), [*place.extra, *more])  # type: ignore[arg-type]


def by_row(found: Plan) -> dict[str, Step]:
    return {step.row: step for step in found.links if step.seed == found.seeds[0]}


def test_a_chain_serves_all_figures_and_each_link_builds_on_the_one_before(place: Place) -> None:
    found = planned(place)
    rows = by_row(found)
    lengths = {"standard": 2, "stdpp": 6, "smart": 1, "r3f": 1, "r4f": 6}  # figures 3, 4 and 5
    assert len(rows) == sum(lengths.values())
    for method, length in lengths.items():
        names = [f"{method} {n + 1} ({('sst', 'para')[n % 2]})" for n in range(length)]
        parents = [rows[name].parent for name in names]
        assert parents == ["", *(rows[name].key for name in names[:-1])]
    assert len({step.key for step in found.steps}) == len(found.steps)
    assert "--epochs 2" in rows["stdpp 1 (sst)"].command and "--r4f" in rows["r4f 6 (para)"].command
    keys = {step.key for step in found.steps}
    assert all(set(step.needs) <= keys for step in found.steps)
    assert {p.features.key for p in found.probings} == {p.probes.parent for p in found.probings}


def test_a_links_name_holds_all_that_came_before_and_one_figure_has_the_links_of_all(
    place: Place,
) -> None:
    every, four = by_row(planned(place)), by_row(planned(place, figure="4"))
    assert {row: step.key for row, step in four.items()} == {row: every[row].key for row in four}
    slower = by_row(planned(place, "--lr", "1e-6", figure="4"))
    alone = {"figure": "4", "methods": ("standard",)}
    other = by_row(planned(place, **alone, chain=("sts", "sst", "para")))
    assert not {s.key for s in four.values()} & {s.key for s in slower.values()}
    assert other["standard 3 (para)"].key != four["standard 2 (para)"].key  # one link more before


def test_an_edit_of_the_probes_trains_and_encodes_nothing_anew(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = planned(place, figure="4")
    real = cells.durable_files.sha256_of

    def edited(path: Path) -> str:
        return "edited" if path.name == "solvers.py" else real(path)

    monkeypatch.setattr(cells.durable_files, "sha256_of", edited)
    cells.code_hash.cache_clear()
    after = planned(place, figure="4")
    monkeypatch.undo()
    cells.code_hash.cache_clear()
    for kind, same in ((LINK, True), (FEATURES, True), (PROBES, False)):
        keys = [{s.key for s in p.steps if s.kind == kind} for p in (before, after)]
        assert (keys[0] == keys[1]) is same and keys[0]


def test_flags_that_name_other_tasks_data_are_left_out(place: Place) -> None:
    found = by_row(planned(place, "--sst_train", str(place.root / "data/ids-sst-train.csv")))
    assert "--sst_train" in found["standard 1 (sst)"].command
    assert "--sst_train" not in found["standard 2 (para)"].command


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_sigkill_in_mid_chain_and_the_same_command_end_in_the_bytes_of_an_undisturbed_one(
    place: Place, tmp_path: Path
) -> None:
    flags = ("--figure", "4", "--methods", "standard")
    for name, kills in (("whole", 0), ("killed", 3)):
        arguments = command(place, *flags, "--workers", "2", out=tmp_path / name)
        for done in range(1, 1 + 2 * kills, 2):
            _kill_when_done(arguments, tmp_path / name, done)
        subprocess.run(_words(arguments), cwd=ROOT, check=True, capture_output=True)
    whole, killed = (
        {p.relative_to(o): p.read_bytes() for p in _published(o)}
        for o in (
            tmp_path / "whole",
            tmp_path / "killed",
        )
    )
    assert whole == killed and len(whole) > 10


def _words(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "minbert.experiments", *arguments]


def _kill_when_done(arguments: list[str], out: Path, count: int) -> None:
    """SIGKILL the command and all of its steps once so many of them have results."""
    process = subprocess.Popen(
        _words(arguments), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while len(list(out.glob(f"cells/*/{RESULT}"))) < count and process.poll() is None:
        time.sleep(0.05)
    time.sleep(1.0)  # the next ones are at work
    for pid in (process.pid, *_children(process.pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def _published(out: Path) -> list[Path]:
    """The pages, and every step's bytes but for links' manifests, which have times."""
    steps = [p for p in out.glob("cells/*/*") if p.name == "dev.npz"]
    with_arrays = [p.with_name(RESULT) for p in steps]
    return [*out.glob("probe-*.md"), *out.glob("probe-*.csv"), *steps, *with_arrays]

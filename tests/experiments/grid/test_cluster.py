"""Cells as jobs, with submitit's local executor: a job at its time limit goes on in another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from minbert.experiments.grid import cluster
from minbert.experiments.grid.cells import Cell, plan
from minbert.experiments.grid.cluster import cluster_launch
from minbert.experiments.grid.experiment import GridRow, Scale
from minbert.experiments.grid.runner import Runner
from minbert.support.errors import InputError
from tests.experiments.grids import Place, experiment

needs_submitit = pytest.mark.skipif(
    find_spec("submitit") is None, reason="submitit is not installed (pip install submitit)"
)


def children(process: int) -> list[int]:
    return [
        int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]


def test_without_submitit_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match="pip install submitit"):
        cluster_launch("slurm", tmp_path, minutes=1)


@needs_submitit
def test_without_slurm_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="--cluster slurm"):
        cluster_launch("slurm", tmp_path, minutes=1)


def test_a_job_that_has_just_ended_is_requeued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warning comes between the end of the cell's process and that of the job."""
    helpers = SimpleNamespace(DelayedSubmission=lambda *arguments: arguments)
    monkeypatch.setattr(cluster, "import_module", lambda _: SimpleNamespace(helpers=helpers))
    job, cell = cluster.ClusterCell(), Cell("row", 1, "", "key")
    job._process = subprocess.Popen(["true"])
    job._process.wait()
    following, *arguments = job.checkpoint(cell, tmp_path)
    assert isinstance(following, cluster.ClusterCell)
    assert arguments == [cell, tmp_path]


@needs_submitit
@pytest.mark.slow  # imports torch a dozen times
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the job in /proc")
def test_a_job_at_its_time_limit_is_requeued_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """The signal that submitit sends before the limit comes in the middle of training."""
    place = Place.make(tmp_path)
    row = GridRow("row", ("--option finetune --smart --rrobin",))
    (cell,) = plan(experiment(row), Scale(40, None, 1), 1, place.extra)
    Runner([cell], tmp_path / "calm", 1).run("calm")

    start = cluster_launch("local", tmp_path / "jobs", minutes=60)
    log = cell.folder(place.out) / "run" / "log.jsonl"
    place.out.mkdir()
    job = start(cell, place.out)
    for _ in range(2):
        before = log.stat().st_size if log.exists() else 0
        while not (log.exists() and log.stat().st_size > before):
            time.sleep(0.05)
        (task,) = children(job._job._process.pid)
        os.kill(task, signal.SIGUSR2)
        while children(job._job._process.pid) == [task]:
            time.sleep(0.05)
        while not children(job._job._process.pid):
            time.sleep(0.05)
    assert job.wait() == 0
    for one in (cell.folder(place.out) / "predictions").iterdir():
        calm = cell.folder(tmp_path / "calm") / "predictions" / one.name
        assert one.read_bytes() == calm.read_bytes()
    assert (cell.folder(place.out) / "log.txt").read_text().count("resumed at step") == 2

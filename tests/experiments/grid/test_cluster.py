"""Cells as jobs, with submitit's local executor: a job at its time limit goes on in another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from minbert.experiments.grid import cluster
from minbert.experiments.grid.cells import Cell, plan
from minbert.experiments.grid.cluster import Demands, cluster_launch
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
        cluster_launch("slurm", tmp_path, Demands(1))


@needs_submitit
def test_without_slurm_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="--cluster slurm"):
        cluster_launch("slurm", tmp_path, Demands(1))


def directives(script: str) -> dict[str, str]:
    """What a job's script asks Slurm for, without the places of its logs."""
    lines = [line.removeprefix("#SBATCH --") for line in script.splitlines() if "#SBATCH" in line]
    asked = dict(line.split("=", 1) for line in lines)
    return {name: value for name, value in asked.items() if name not in ("output", "error")}


ALWAYS = {"job-name": "submitit", "nodes": "1", "open-mode": "append", "wckey": "submitit"}


@needs_submitit
@pytest.mark.parametrize(
    ("demands", "asked", "step"),
    [
        (Demands(60), {"time": "60", "signal": "USR2@90"}, ""),
        (
            Demands(2, partition="long", gpus=4),
            {"time": "2", "signal": "USR2@60", "partition": "long", "gpus-per-node": "4"},
            "",
        ),
        (
            Demands(30, cpus=16, gpus=1),
            {"time": "30", "signal": "USR2@90", "cpus-per-task": "16", "gpus-per-node": "1"},
            " --cpus-per-task=16",
        ),
    ],
    ids=["plain", "four GPUs", "cores"],
)
def test_slurm_is_asked_for_what_the_flags_say(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    demands: Demands,
    asked: dict[str, str],
    step: str,
) -> None:
    """By the script that sbatch is given; this sbatch keeps it."""
    (tmp_path / "bin").mkdir()
    for name, does in (("srun", ""), ("sbatch", f'cp "$1" {tmp_path}/job.sh; echo "job 42"')):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    cluster_launch("slurm", tmp_path / "jobs", demands)(Cell("row", 1, "", "key"), tmp_path)
    script = (tmp_path / "job.sh").read_text()
    assert directives(script) == ALWAYS | asked
    (line,) = [line for line in script.splitlines() if line.startswith("srun ")]
    assert line.split(" --error")[1].split(" ", 2)[2].startswith(f"{step} {sys.executable}".strip())


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
@pytest.mark.slow
def test_a_job_runs_a_cell_of_two_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python process that is a rank writes its number down as it starts."""
    begins = f"""import os
if "RANK" in os.environ:
    with open({str(tmp_path / "ranks")!r}, "a") as stream:
        stream.write(os.environ["RANK"])
"""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(begins)
    paths = (str(tmp_path / "site"), os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    place = Place.make(tmp_path)
    row = GridRow("row", ("--option finetune --rrobin --ranks 2",))
    (cell,) = plan(experiment(row), Scale(1, 10, 1), 1, place.extra)
    start = cluster_launch("local", tmp_path / "jobs", Demands(60))
    runner = Runner([cell], place.out, 1, start)
    runner.run("two ranks")
    assert runner.failed == {}
    record = json.loads((cell.folder(place.out) / "result.json").read_text())
    assert record["manifest"]["config"]["ranks"] == 2 and record["manifest"]["dev"].keys() >= {
        "sst"
    }
    said = (cell.folder(place.out) / "log.txt").read_text()
    assert said.count("epoch 1: dev") == 1
    assert sorted((tmp_path / "ranks").read_text()) == ["0", "1"]


@needs_submitit
@pytest.mark.slow  # imports torch a dozen times
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the job in /proc")
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_job_at_its_time_limit_is_requeued_and_ends_with_the_same_bytes(
    tmp_path: Path, ranks: int
) -> None:
    """The signal that submitit sends before the limit comes in the middle of training."""
    place = Place.make(tmp_path)
    row = GridRow("row", (f"--option finetune --smart --rrobin --ranks {ranks}",))
    (cell,) = plan(experiment(row), Scale(40, None, 1), 1, place.extra)
    Runner([cell], tmp_path / "calm", 1).run("calm")

    start = cluster_launch("local", tmp_path / "jobs", Demands(60))
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="plans on a machine with a GPU")
@pytest.mark.parametrize(("device", "warned"), [("", True), ("--device cuda", False)])
def test_a_machine_without_a_gpu_that_plans_for_gpus_says_what_precision_that_makes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, device: str, warned: bool
) -> None:
    place = Place.make(tmp_path)
    row = GridRow("row", (f"--option finetune {device}",))
    cells = plan(experiment(row), Scale(1, 10, 1), 1, place.extra)
    with caplog.at_level("WARNING", logger="minbert"):
        Demands(60, gpus=1).check(cells)
    assert ("fp32 on GPUs" in caplog.text) == warned

"""The job script that ships in docs: what it asks Slurm for, and the line that it runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.helpers import ROOT

SCRIPT = ROOT / "docs" / "slurm.sh"
GIVEN = ("--option", "finetune", "--output_dir", "runs/my run")


def lines_run(tmp_path: Path, **job: str) -> list[str]:
    """The words that the script gives to srun, and before them its time for a last checkpoint."""
    told = 'printf "%s\\n" "$TORCH_ELASTIC_SHUTDOWN_TIMEOUT" "$@"'
    for name, does in {"srun": told, "scontrol": "echo first; sleep .05; echo second"}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{does}\n")
        (tmp_path / name).chmod(0o755)
    of_slurm = {"SLURM_JOB_ID": "71234", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2"}
    told_env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **of_slurm, **job}
    command = ["bash", SCRIPT, *GIVEN]
    done = subprocess.run(command, env=told_env, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_it_starts_torchrun_once_a_machine_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    _, *words = lines_run(tmp_path, SLURM_CPUS_PER_TASK="16")
    assert words == [
        "--kill-on-bad-exit=1",
        "--cpus-per-task=16",
        "torchrun",
        "--nnodes=2",
        "--nproc-per-node=gpu",
        "--max-restarts=3",
        "--rdzv-id=71234",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=first:29634",
        "multitask_classifier.py",
        *GIVEN,
        "--resume",
    ]
    assert "--nproc-per-node=8" in lines_run(tmp_path, RANKS_PER_NODE="8")


def test_it_is_told_early_enough_to_write_a_checkpoint(tmp_path: Path) -> None:
    marks = [line for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH ")]
    asked = dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in marks)
    number, seconds = asked["signal"].split("@")  # to the steps: with B: it would be to bash
    assert number == "TERM"
    assert 30 < int(lines_run(tmp_path)[0]) < int(seconds)
    assert asked["ntasks-per-node"] == "1" and "requeue" in asked
    assert asked["open-mode"] == "append"  # the log of a job that goes on

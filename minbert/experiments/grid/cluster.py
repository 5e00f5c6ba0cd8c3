"""Cells as jobs of a Slurm cluster, through submitit, which nothing else needs.

A job starts the cell's process as a runner does. Shortly before the job's time limit submitit calls
`checkpoint()`, which stops the process with a checkpoint and puts the job into the queue again.
There it goes on, and the results are the same bytes as those of an undisturbed job.
"""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from minbert.experiments.grid.cell import launch
from minbert.experiments.grid.cells import CLAIMS, Cell, configuration, quietly
from minbert.experiments.grid.runner import Launch
from minbert.support.claims import is_free
from minbert.support.console import log
from minbert.support.device import cores
from minbert.support.errors import InputError

CLUSTERS = ("slurm", "local")
_WARNING = 90  # seconds before a job's time limit, for a last checkpoint
_REQUEUED = 1000  # times at most


@dataclass(frozen=True)
class Demands:
    """What every job asks of the cluster; its run's ranks share it. None is the cluster's own."""

    minutes: float
    partition: str | None = None
    cpus: int | None = None
    gpus: int = 0

    def parameters(self, cluster: str) -> dict[str, Any]:
        """The same as submitit's executor for that cluster takes it."""
        asked: dict[str, Any] = {"signal_delay_s": min(_WARNING, round(self.minutes * 30))}
        if self.gpus:
            asked["gpus_per_node"] = self.gpus
        if cluster == "local":
            return asked | {"timeout_min": self.minutes}
        if self.cpus is not None:  # since Slurm 22.05 srun gives a step one unless it is told
            asked |= {"cpus_per_task": self.cpus, "srun_args": [f"--cpus-per-task={self.cpus}"]}
        if self.partition is not None:
            asked["partition"] = self.partition
        return asked | {"time": self.minutes}

    def check(self, cells: Sequence[Cell]) -> None:
        """Raise InputError where runs would leave GPUs of their jobs idle, or have too few."""
        if self.gpus == 0:
            return
        with quietly():
            runs = [configuration(cell.command) for cell in cells]
        ranks = max(run.ranks for run in runs)
        if any(run.device == "auto" and run.precision == "fp32" for run in runs):
            log.warning(
                "fp32 on GPUs, as this machine, which plans, has none: add --device cuda after -- "
                "for bf16"
            )
        if self.gpus != ranks:
            raise InputError(
                f"--gpus {self.gpus}: a run takes a GPU for each of its ranks, and has {ranks}; "
                f"add --ranks {self.gpus} after --, or ask for --gpus {ranks}"
            )


class ClusterCell:
    """The function that a job calls, which returns the exit code of the cell's process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, cell: Cell, out: Path) -> int:
        self._process = launch(cell, out, cores())
        while (code := self._process.poll()) is None:
            time.sleep(0.5)
        return code

    def checkpoint(self, cell: Cell, out: Path) -> Any:
        """Stop, and say how to go on. Called by submitit, in a signal handler."""
        if self._process is not None:
            self._process.terminate()  # also where it has ended: os.kill() would raise then
            # not Popen.wait(): the handler may have interrupted poll() while that holds its lock
            while not is_free(cell.folder(out) / CLAIMS):
                time.sleep(0.2)
        again = import_module("submitit").helpers.DelayedSubmission
        return again(ClusterCell(), cell, out)


class ClusterProcess:
    """A job, seen as the runner sees a process."""

    def __init__(self, job: Any) -> None:
        self._job = job

    def poll(self) -> int | None:
        """Return the exit code of the cell's process, None before the end, 1 for a lost job."""
        if not self._job.done():
            return None
        return 1 if self._job.exception() is not None else int(self._job.result())

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code. Raises subprocess.TimeoutExpired."""
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if until is not None and time.monotonic() >= until:
                raise subprocess.TimeoutExpired("job", timeout or 0.0)
            time.sleep(0.5)
        return code

    def terminate(self) -> None:
        """Take the job out of the queue, or end it."""
        self._job.cancel()

    kill = terminate  # the cluster ends what does not stop


def cluster_launch(cluster: str, folder: Path, demands: Demands) -> Launch:
    """Return what starts a cell as a job. Raises InputError without submitit or the cluster."""
    try:
        submitit: Any = import_module("submitit")
    except ImportError as error:
        raise InputError(f"--cluster {cluster}: needs submitit (pip install submitit)") from error
    kind = submitit.SlurmExecutor if cluster == "slurm" else submitit.LocalExecutor
    try:
        executor = kind(folder, max_num_timeout=_REQUEUED)
        executor.update_parameters(**demands.parameters(cluster))
    except RuntimeError as error:  # no sbatch on this machine
        raise InputError(f"--cluster {cluster}: {error}") from error
    return lambda cell, out: ClusterProcess(executor.submit(ClusterCell(), cell, out))

"""Cells as jobs of a Slurm cluster, through submitit, which nothing else needs.

A job starts the cell's process as a runner does. Shortly before the job's time limit submitit calls
`checkpoint()`, which stops the process with a checkpoint and puts the job into the queue again.
There it goes on, and the results are the same bytes as those of an undisturbed job.
"""

import subprocess
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from minbert.experiments.grid.cell import launch
from minbert.experiments.grid.cells import CLAIMS, Cell
from minbert.experiments.grid.runner import Launch
from minbert.support.claims import is_free
from minbert.support.device import cores
from minbert.support.errors import InputError

CLUSTERS = ("slurm", "local")
_WARNING = 90  # seconds before a job's time limit, for a last checkpoint
_REQUEUED = 1000  # times at most


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


def cluster_launch(
    cluster: str, folder: Path, minutes: float, partition: str | None = None, gpus: int = 0
) -> Launch:
    """Return what starts a cell as a job. Raises InputError without submitit or the cluster."""
    try:
        submitit: Any = import_module("submitit")
    except ImportError as error:
        raise InputError(f"--cluster {cluster}: needs submitit (pip install submitit)") from error
    kind, time_limit = submitit.LocalExecutor, "timeout_min"
    parameters: dict[str, Any] = {"gpus_per_node": gpus}
    parameters["signal_delay_s"] = min(_WARNING, round(minutes * 30))
    if cluster == "slurm":
        kind, time_limit = submitit.SlurmExecutor, "time"
        parameters |= {} if partition is None else {"partition": partition}
    parameters[time_limit] = minutes
    try:
        executor = kind(folder, max_num_timeout=_REQUEUED)
        executor.update_parameters(**parameters)
    except RuntimeError as error:  # no sbatch on this machine
        raise InputError(f"--cluster {cluster}: {error}") from error
    return lambda cell, out: ClusterProcess(executor.submit(ClusterCell(), cell, out))

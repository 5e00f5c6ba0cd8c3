"""The curves of a run in the programs that show them: TensorBoard, Weights & Biases, trackio.

Each is an optional package and is imported only where it is asked for. Nothing leaves the machine,
unless the package's own environment variables (`WANDB_MODE`, `TRACKIO_SPACE_ID`) say so. A tracker
begins without points, whatever an earlier process left: `tracking.py` fills it from the run's log.
"""

import contextlib
import hashlib
import io
import os
import shutil
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from minbert.support.errors import InputError
from minbert.training.run_folder import TENSORBOARD, WANDB

PROJECT = "minbert"


class Tracker(Protocol):
    """What shows the curves of one run."""

    watch: str  # how a user comes to see them

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point at `step` to each of the named curves. Steps never fall."""

    def close(self) -> None:
        """Write what is still in memory."""


class TensorBoard:
    """Event files in the run's folder, which `tensorboard --logdir` shows, also while they grow."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        del settings  # TensorBoard's curves have none
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        place = folder / TENSORBOARD
        for file in place.glob("events.out.tfevents.*"):
            file.unlink()
        self._writer = EventFileWriter(str(place), flush_secs=5)
        # a TensorBoard that has shown the earlier file drops its points when it reads this
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._writer.add_event(event_pb2.Event(step=0, wall_time=time.time(), session_log=start))
        self.watch = f"tensorboard --logdir {folder.parent}"

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add one event that has all the values."""
        points = [self._summary.Value(tag=name, simple_value=v) for name, v in values.items()]
        summary = self._summary(value=points)
        self._writer.add_event(self._event(step=step, wall_time=time.time(), summary=summary))

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()


class WeightsAndBiases:
    """An offline run of wandb in the run's folder, which `wandb sync` uploads if a user wants to.

    `WANDB_MODE=online` sends the values at once. A resumed run keeps its id.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        mode: Any = os.environ.get("WANDB_MODE", "offline")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else its service would report
        import wandb

        earlier = sorted((folder / WANDB).glob("*run-*-*"))
        shutil.rmtree(folder / WANDB, ignore_errors=True)
        quiet = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True
        )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=folder.name,
            id=earlier[-1].name.rpartition("-")[2] if earlier else None,
            resume="allow" if mode == "online" else None,
            dir=folder,
            mode=mode,
            config=dict(settings),
            settings=quiet,
        )
        self.watch = f"wandb sync {folder / WANDB}/offline-run-*" if mode == "offline" else "wandb"

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values; those of one step come together."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Wait until all is written."""
        self._run.finish()


class Trackio:
    """A run in trackio's own local database, which `trackio show` reads.

    Its name has a hash of the folder, so that each folder has one run there.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        import trackio

        name = f"{folder.name}-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:6]}"
        with _quietly():
            with contextlib.suppress(ValueError):  # no such project yet
                for run in trackio.Api().runs(PROJECT):
                    if run.name == name:
                        run.delete()
            self._run = trackio.init(
                project=PROJECT,
                name=name,
                config=dict(settings),
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        self.watch = f"trackio show --project {PROJECT}"

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Wait until all is written."""
        import trackio

        with _quietly():
            trackio.finish()


def _quietly() -> contextlib.AbstractContextManager[object]:
    """Keep what a package prints out of the results on stdout."""
    return contextlib.redirect_stdout(io.StringIO())


TRACKERS: Mapping[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}


def check(track: str | None) -> None:
    """Raise InputError now where the package of `--track` is not installed."""
    if track is not None and find_spec(track) is None:
        raise InputError(f"--track {track}: this package is not installed: pip install {track}")

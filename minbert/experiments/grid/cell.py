"""One cell of a grid in a process of its own, which `launch()` starts.

The process claims the cell, goes on with the main job where an earlier process left off, and
publishes the result in one step. A fault, even a crash of the interpreter, stays within it.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from minbert.experiments.grid.cells import CLAIMS, DEV, RESULT, RUN, Cell, configuration, key_of
from minbert.experiments.grid.columns import key_of_split
from minbert.experiments.grid.finished import FinishedRun
from minbert.finetune import job
from minbert.finetune.build import Parts
from minbert.finetune.config import RunConfig
from minbert.support import durable_files
from minbert.support.claims import TAKEN, Claim, ClaimLost, created, take
from minbert.support.command import run_command
from minbert.support.errors import RunError
from minbert.support.signals import StopRequest
from minbert.tasks.task import Array, kind_of
from minbert.training.run_folder import CURVES

LOG = "log.txt"
_FURTHER = "further-dev.npz"
Predictions = Mapping[tuple[str, str], Array]  # (task, split)
SomeCell = TypeVar("SomeCell", bound=Cell)
Work = Callable[[SomeCell, Path, Claim, StopRequest], None]  # cell, folder, claim, stop


def launch(cell: Cell, out: Path, threads: int) -> subprocess.Popen[bytes]:
    """Start the cell's process, in a session of its own, with its output in the cell's log.

    The process stops, with a checkpoint, on SIGTERM or when the calling process has died.
    """
    folder = cell.folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    package = str(Path(job.__file__).parents[2])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    defaults = {"OMP_NUM_THREADS": str(threads)}
    arguments = [str(out), json.dumps(dataclasses.asdict(cell)), str(os.getpid())]
    with (folder / LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", cell.module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**defaults, **os.environ, "PYTHONPATH": path},
        )


def run_cell(cell: Cell, out: Path, parent: int, stop: StopRequest) -> bool:
    """Bring the cell to its result; return False where another process is at it.

    Raises RunError, InputError or Stopped.
    """
    return brought_to_result(cell, out, parent, stop, _work)


def brought_to_result(
    cell: SomeCell, out: Path, parent: int, stop: StopRequest, work: Work[SomeCell]
) -> bool:
    """Let `work` make the cell's result, unless it has one or another process is at it.

    Returns False for the latter.
    """
    folder = cell.folder(out)
    claim = take(folder / CLAIMS)
    if claim is None:
        return False
    with claim.kept(parent), contextlib.suppress(ClaimLost):
        if not is_published(folder):
            work(cell, folder, claim, stop)
        with stop.deferred():
            _remove_checkpoints(folder, claim)
        return True
    return False


def is_published(folder: Path) -> bool:
    """Whether the cell has its result."""
    # by a new listing: an NFS client may remember for a while that there was no such file
    return RESULT in {entry.name for entry in folder.iterdir()}


def _work(cell: Cell, folder: Path, claim: Claim, stop: StopRequest) -> None:
    config = configuration(cell.command)
    if key_of(config) != cell.key:
        raise RunError("code, data or weights changed since the grid was planned: start it again")
    more = (partial(_keep, folder),) if _further(config) else ()
    result = job.run(_writing_into(folder, config), stop, *more)
    with stop.deferred():
        _publish(cell, folder, claim, result)


def _further(config: RunConfig) -> list[tuple[str, str]]:
    """The dev files beside each task's first, as (task, split)."""
    return [key for key in config.scored_keys if kind_of(key[1]) == "dev" and key[1] != "dev"]


def _keep(
    folder: Path, _run: Path, config: RunConfig, parts: Parts, _: object, predicted: Predictions
) -> None:
    """Write the predictions and labels of further dev files, which no checkpoint holds."""
    arrays: dict[str, Array] = {}
    for key in _further(config):
        data, name = parts.datasets[key], key_of_split(*key)
        arrays |= _arrays(name, list(data.ids), data.labels, predicted[key])
    with durable_files.replacing(folder / _FURTHER) as draft, draft.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def _arrays(name: str, ids: Sequence[str], labels: Array, predictions: Array) -> dict[str, Array]:
    return {
        f"{name}_ids": np.asarray(ids),
        f"{name}_labels": labels,
        f"{name}_predictions": predictions,
    }


def _writing_into(folder: Path, config: RunConfig) -> RunConfig:
    """Return the configuration with every output path below `folder`."""
    outs: dict[str, Any] = {
        f"{task}_{split}_out": str(folder / "predictions" / Path(config.out_file(task, split)).name)
        for task, split in config.predicted_keys
        if task not in config.own_tasks
    }
    if config.own_tasks:
        outs["predictions_dir"] = str(folder / "predictions")
    return dataclasses.replace(config, output_dir=str(folder / RUN), resume=True, **outs)


def _publish(cell: Cell, folder: Path, claim: Claim, result: job.Result) -> None:
    """Write dev predictions and labels, then the result, which makes the cell done.

    Raises ClaimLost where another process has taken over: what that one wrote stays.
    """
    claim.check()
    run = FinishedRun.read(result.folder)
    arrays: dict[str, Array] = {}
    for task, predictions in run.predictions.items():
        ids = [example.id for example in run.split(task).examples]
        arrays |= _arrays(task, ids, run.labels(task), predictions)
    if (further := folder / _FURTHER).exists():
        with np.load(further, allow_pickle=False) as kept:
            arrays |= dict(kept)
    with durable_files.replacing(folder / DEV) as draft:
        with draft.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)
        record = {"cell": dataclasses.asdict(cell), "sha256": durable_files.sha256_of(draft)}
        claim.check()
        if is_published(folder):
            raise ClaimLost(f"{folder / RESULT}: another process has made it")
    text = json.dumps({**record, "manifest": result.manifest}, indent=1, allow_nan=False)
    claim.check()
    created(folder / RESULT, text)


def leftovers(folder: Path) -> list[Path]:
    """Return the checkpoint folders of a cell: those of a whole grid would fill the disk."""
    run = folder / RUN
    entries = (*(run.iterdir() if run.is_dir() else ()), *folder.glob(f"{RUN}.old*"))
    return [entry for entry in entries if entry.is_dir() and entry.name not in CURVES]


def _remove_checkpoints(folder: Path, claim: Claim) -> None:
    claim.check()
    (folder / _FURTHER).unlink(missing_ok=True)
    for entry in leftovers(folder):
        shutil.rmtree(entry)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cell; return the exit code, `TAKEN` where another process is at it."""
    return process(lambda kept: Cell(**kept), run_cell, argv)


def process(
    read: Callable[[dict[str, Any]], SomeCell],
    bring: Callable[[SomeCell, Path, int, StopRequest], bool],
    argv: Sequence[str] | None,
) -> int:
    """What a cell's process does with the arguments that `launch` gives it: `bring` its result.

    `read` makes the cell from its JSON.
    """
    out, text, parent = sys.argv[1:] if argv is None else argv
    held = True

    def work(stop: StopRequest) -> None:
        nonlocal held
        held = bring(read(json.loads(text)), Path(out), int(parent), stop)

    code = run_command(work, if_stopped="the grid's command goes on with it")
    return code if held else TAKEN


if __name__ == "__main__":
    sys.exit(main())

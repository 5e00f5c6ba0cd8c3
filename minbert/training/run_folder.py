"""The folder of a run: one run at a time holds it, and none overwrites an earlier one."""

import contextlib
import json
import os
import platform
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minbert.support import durable_files
from minbert.support.claims import created_anywhere, take
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.locks import opened, try_lock
from minbert.support.outputs import check_name
from minbert.training import group

MANIFEST, LOG, BAD_ROWS, ENCODER = "manifest.json", "log.jsonl", "bad_rows.jsonl", "encoder"
TENSORBOARD, WANDB, REPORT = "tensorboard", "wandb", "report.html"
CURVES = (TENSORBOARD, WANDB)  # what --track leaves in the folder
_CLAIMS = ".claims"
# the manifest comes last: without it the rest would no longer count as a run
_CHECKPOINTS = ("step-*", "best-*", "damaged-*", "finished")
_OURS = (*_CHECKPOINTS, ENCODER, LOG, BAD_ROWS, *CURVES, REPORT, MANIFEST)

_PATIENCE = 10.0  # seconds in which a new file must show on another machine


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock the folder for this run, and remove it at the end if it is still empty.

    Raises InputError where something else than a run is in the way, or another run is at work.
    """
    _make_usable(folder)
    with opened(folder) as handle, _alone(handle, folder), durable_files.never_anew(folder):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # not empty: as it should be
                folder.rmdir()


@contextlib.contextmanager
def _alone(handle: int, folder: Path) -> Iterator[None]:
    """Keep other runs out: by a lock or, where the file system has none, by a claim."""
    locked, claim = try_lock(handle), None
    if locked is None:
        claim = take(folder / _CLAIMS, created_anywhere)
    if not locked and claim is None:
        raise InputError(f"{folder}: another run is using it; name another --output_dir")
    with claim.kept() if claim else contextlib.nullcontext():
        yield


def check_shared(folder: Path) -> None:
    """Raise InputError in a rank that does not see what rank 0 writes into the folder."""
    if group.size() == 1:
        return
    first = group.rank() == 0
    token = folder / f".seen-by-all-{group.highest(secrets.randbits(60) if first else 0)}.tmp"
    try:
        if first:
            token.touch()
        group.wait()
        _look_for(token)
        group.wait()
    finally:
        if first:
            token.unlink(missing_ok=True)


def _look_for(token: Path) -> None:
    last = time.monotonic() + _PATIENCE
    while not token.exists():
        if time.monotonic() > last:
            raise InputError(
                f"--output_dir {token.parent}: rank {group.rank()}, on {platform.node()}, "
                "does not see what rank 0 writes there; name a folder that all machines share"
            )
        time.sleep(0.1)


def _make_usable(folder: Path) -> None:
    """Make the folder, or raise InputError where a run cannot or must not write into it."""
    check_name(folder, f"--output_dir {folder}")
    try:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"--output_dir {folder}: a file of that name is in the way")
        durable_files.make_folder(folder)
    except OSError as error:
        raise InputError(f"--output_dir {folder}: cannot be made ({error.strerror})") from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"--output_dir {folder}: cannot be written")
    # hidden files are drafts that a killed run left
    contents = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    if contents and not (folder / MANIFEST).exists():
        raise InputError(f"--output_dir {folder}: holds something else than a run; name another")
    for name in (MANIFEST, LOG, BAD_ROWS, REPORT, ENCODER):
        path, is_folder = folder / name, name == ENCODER
        if path.exists() and not (path.is_dir() if is_folder else path.is_file()):
            kind = "folder" if is_folder else "file"
            raise InputError(f"{path}: is no {kind}, as a run's would be; move it away")


def set_earlier_run_aside(folder: Path) -> None:
    """Move the files of an earlier run in `folder` to a sibling named .old1, .old2, ..."""
    ours = [entry for pattern in _OURS for entry in sorted(folder.glob(pattern))]
    if not ours:
        return
    home, number = folder.resolve(), 1
    while (aside := home.with_name(f"{home.name}.old{number}")).exists():
        number += 1
    aside.mkdir()
    for entry in ours:
        entry.rename(aside / entry.name)
    log.info("%s held an earlier run, which is now in %s", folder, aside)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, which this process has just written."""
    with (folder / LOG).open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]

"""A run's folder: taken by one run at a time, never overwritten."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from minbert.runtime import InputError, log

MANIFEST, LOG, BAD_ROWS = "manifest.json", "log.jsonl", "bad_rows.jsonl"
_LOCK = "lock"


@contextlib.contextmanager
def claimed(folder: Path, *, resume: bool) -> Iterator[None]:
    """Hold the folder for this run alone.

    Without `resume` an earlier run's folder is first moved aside, to a name that ends in .old1,
    .old2, ... Raises InputError where something else than a run is in the way, or another run is
    at work there.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output_dir {folder}: a file of that name is in the way")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _LOCK).exists():
        raise InputError(f"--output_dir {folder}: holds something else than a run; name another")
    if (folder / MANIFEST).exists() and not resume:
        with _lock(folder):
            aside = _move_aside(folder)
        log.info("%s holds an earlier run: moved to %s", folder, aside)
    with _lock(folder):
        yield


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{folder}: another run is using it; name another --output_dir"
            ) from error
        yield


def _move_aside(folder: Path) -> Path:
    number = 1
    while (target := folder.with_name(f"{folder.name}.old{number}")).exists():
        number += 1
    return folder.rename(target)

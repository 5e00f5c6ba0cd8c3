"""What a power cut takes: contents and names that were not flushed to disk.

A kill leaves the system's memory as it is, so it cannot show a missing flush. A power cut is
simulated by undoing, before the process kills itself, what the system need not have written yet:

- `contents`: of what was written to a file after its last fsync() half is cut, all names stay.
- `names`: what was done to names in a folder after its last fsync() is undone, newest first.
- `some`: each of these with probability one half, since a system writes in any order.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from os import link, lstat, mkdir, rename, unlink  # as they are before they are watched
from pathlib import Path
from random import Random
from typing import Any

from minbert.experiments.faults.operations import Operation, Watcher

MODES = ("contents", "names", "some")
_Identity = tuple[int, int]


@dataclass(frozen=True)
class _Change:
    """A change to the names in some folders, and how to undo it."""

    folders: tuple[str, ...]
    undo: Callable[[], None]


class Unsynced:
    """A watcher that performs every operation and remembers what is not on disk yet."""

    def __init__(self, root: Path, attic: Path) -> None:
        """Keep what is removed below `root` in `attic`, an empty folder of the same disk."""
        self._root, self._attic = root, attic
        self._dirty: set[_Identity] = set()
        self._on_disk: dict[_Identity, int] = {}  # of a file's bytes, how many
        self._changes: list[_Change] = []
        self._kept = 0

    def watching(self, watcher: Watcher) -> Watcher:
        """The same watcher, whose performed operations are remembered."""

        def watched(operation: Operation) -> Any:
            return watcher(replace(operation, perform=lambda: self._performed(operation)))

        return watched

    def _performed(self, operation: Operation) -> Any:
        undo = self._undo_of(operation)
        result = operation.perform()
        if undo is not None:
            self._changes.append(undo)
        if operation.kind == "create":
            self._opened(_identity(operation.path), lstat(operation.path).st_size)
        elif operation.kind == "write":
            self._dirty.add(_identity(operation.path))
        elif operation.kind == "sync":
            self._synced(operation.path)
        return result

    def _opened(self, identity: _Identity, size: int) -> None:
        """What a new process finds in a file is on disk, unless opening has emptied the file."""
        known = self._on_disk.get(identity, 0) if identity in self._dirty else size
        self._on_disk[identity] = min(size, known)

    def _synced(self, path: str) -> None:
        self._dirty.discard(_identity(path))
        self._on_disk[_identity(path)] = lstat(path).st_size
        self._changes = [change for change in self._changes if path not in change.folders]

    def _undo_of(self, operation: Operation) -> _Change | None:
        path, target, folder = operation.path, operation.target, _folder(operation.path)
        exists = os.path.lexists(path)
        if operation.kind in ("create", "mkdir") and not exists:
            return _Change((folder,), lambda: _remove(path))
        if operation.kind == "remove" and exists:
            kept = self._keep(path)
            return _Change((folder,), lambda: rename(kept, path))
        if operation.kind == "rmdir":
            return _Change((folder,), lambda: mkdir(path))
        if operation.kind in ("rename", "link") and target:
            return _Change((folder, _folder(target)), self._back(operation))
        return None

    def _back(self, operation: Operation) -> Callable[[], None]:
        path, target = operation.path, operation.target
        kept = self._keep(target) if os.path.lexists(target) and not _is_folder(target) else ""

        def undo() -> None:
            if operation.kind == "rename":
                rename(target, path)
            else:
                _remove(target)
            if kept:
                rename(kept, target)

        return undo

    def _keep(self, path: str) -> str:
        self._kept += 1
        kept = str(self._attic / f"{os.getpid()}-{self._kept}")
        link(path, kept)
        return kept

    def cut(self, mode: str, seed: int) -> None:
        """Leave on disk what a power cut would leave, in one of `MODES`."""
        draw = Random(seed)
        for change in reversed(self._changes):
            if mode == "names" or (mode == "some" and draw.random() < 0.5):
                with contextlib.suppress(OSError):  # what it undid is gone by another one
                    change.undo()
        if mode != "names":
            self._cut_contents(draw, 1.0 if mode == "contents" else 0.5)

    def _cut_contents(self, draw: Random, share: float) -> None:
        for path in sorted(self._root.rglob("*")):
            identity = _identity(str(path))
            if path.is_file() and identity in self._dirty and draw.random() < share:
                size = path.stat().st_size
                safe = min(size, self._on_disk.get(identity, 0))
                os.truncate(path, (safe + size) // 2)


def _folder(path: str) -> str:
    return os.path.dirname(path)


def _is_folder(path: str) -> bool:
    return os.path.lexists(path) and stat.S_ISDIR(lstat(path).st_mode)


def _identity(path: str) -> _Identity:
    found = lstat(path)
    return found.st_dev, found.st_ino


def _remove(path: str) -> None:
    shutil.rmtree(path) if _is_folder(path) else unlink(path)

"""A process's operations on files, each a place where something can go wrong.

`watch()` puts itself between Python and the system: every call that touches a file below a folder
becomes an `Operation`, and a watcher decides whether it is performed. Files that safetensors reads
and writes by itself are one operation each, since its code cannot be seen from Python.
"""

from __future__ import annotations

import builtins
import fcntl
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minbert.encoder import tensor_files
from minbert.support import durable_files
from minbert.training import checkpoint

# kinds of operations: what a full disk refuses, what a disk that became read-only does, and all
SPACE = ("create", "write", "sync", "mkdir", "rename", "link")
CHANGING = (*SPACE, "rmdir", "remove", "chmod", "utime")
SEEING = ("open", "read", "list", "lock")
EVERY = (*SEEING, *CHANGING, "stat")
_BY_PATH: Mapping[str, str] = {
    "mkdir": "mkdir",
    "rmdir": "rmdir",
    "unlink": "remove",
    "remove": "remove",
    "chmod": "chmod",
    "utime": "utime",
    "scandir": "list",
    "listdir": "list",
    "stat": "stat",
}
_BY_TWO_PATHS: Mapping[str, str] = {"rename": "rename", "replace": "rename", "link": "link"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Operation:
    """What a process is about to do to a file or folder, by its kind, one of `EVERY`.

    `perform` does it. `halfway` is what a process that ends in its midst has done. `target` is a
    rename's second path. `is_native` marks what safetensors does, which raises errors of its own.
    """

    kind: str
    path: str
    perform: Callable[[], Any]
    halfway: Callable[[], object] = lambda: None
    target: str = ""
    is_native: bool = False

    @property
    def words(self) -> str:
        """The kind and the paths, for a person."""
        return " ".join(filter(None, (self.kind, self.path, self.target)))


Watcher = Callable[[Operation], Any]


def watch(root: Path, watcher: Watcher) -> None:
    """Hand every operation below `root` to the watcher, from now on and to the process's end."""
    _Watch(str(root.resolve()), watcher).begin()


class _Watch:
    """The functions that take the place of the system's, and the files that are open."""

    def __init__(self, root: str, watcher: Watcher) -> None:
        self._root, self.watcher = root, watcher
        self.handles: dict[int, str] = {}  # of files that are open -> path
        self._system = (os.open, os.close, os.fsync, fcntl.flock)

    def begin(self) -> None:
        for name, kind in _BY_PATH.items():
            setattr(os, name, self._by_path(kind, getattr(os, name)))
        for name, kind in _BY_TWO_PATHS.items():
            setattr(os, name, self._by_two_paths(kind, getattr(os, name)))
        changed: dict[str, Any] = {"open": self._open_handle, "close": self._close_handle}
        for name, function in (changed | {"fsync": self._sync}).items():
            setattr(os, name, function)
        setattr(fcntl, "flock", self._lock)  # noqa: B010  mypy knows its signature
        io.open = builtins.open = self._opened(io.open)
        self._begin_native()

    def _begin_native(self) -> None:
        writer, reader, opener = (
            module.__dict__ for module in (durable_files, checkpoint, tensor_files)
        )
        writer["save_file"] = self._saving(writer["save_file"])
        reader["load_file"] = self._native("read", reader["load_file"])
        opener["safe_open"] = self._native("open", opener["safe_open"])

    def _place(self, path: Any, folder: int | None = None) -> str:
        """The absolute path, empty where it does not lie below the root."""
        if isinstance(path, int):
            return self.handles.get(path, "")
        base = os.getcwd() if folder is None else self.handles.get(folder, "/")
        full = os.path.normpath(os.path.join(base, os.fsdecode(path)))
        return full if full == self._root or full.startswith(self._root + os.sep) else ""

    def _by_path(self, kind: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def watched(path: Any = ".", *rest: Any, **settings: Any) -> Any:
            place = self._place(path, settings.get("dir_fd"))
            if not place:
                return work(path, *rest, **settings)
            return self.watcher(Operation(kind, place, lambda: work(path, *rest, **settings)))

        return watched

    def _by_two_paths(self, kind: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def watched(path: Any, target: Any, **settings: Any) -> Any:
            place, other = self._place(path), self._place(target)
            if not place:
                return work(path, target, **settings)
            perform = lambda: work(path, target, **settings)  # noqa: E731
            return self.watcher(Operation(kind, place, perform, target=other))

        return watched

    def _open_handle(self, path: Any, flags: int, *rest: Any, **settings: Any) -> int:
        place = self._place(path, settings.get("dir_fd"))
        perform = lambda: self._system[0](path, flags, *rest, **settings)  # noqa: E731
        if not place:
            return perform()
        kind = "create" if flags & _WRITING else "open"
        handle: int = self.watcher(Operation(kind, place, perform))
        self.handles[handle] = place
        return handle

    def _close_handle(self, handle: int) -> None:
        self.handles.pop(handle, None)
        self._system[1](handle)

    def _sync(self, handle: Any) -> None:
        self._on_handle("sync", handle, lambda: self._system[2](handle))

    def _lock(self, handle: Any, how: int) -> None:
        self._on_handle("lock", handle, lambda: self._system[3](handle, how))

    def _on_handle(self, kind: str, handle: Any, perform: Callable[[], Any]) -> None:
        number = handle if isinstance(handle, int) else handle.fileno()
        place = self.handles.get(number, "")
        self.watcher(Operation(kind, place, perform)) if place else perform()

    def _native(self, kind: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def watched(path: Any, *rest: Any, **settings: Any) -> Any:
            perform = lambda: work(path, *rest, **settings)  # noqa: E731
            place = self._place(path)
            return self.watcher(Operation(kind, place, perform)) if place else perform()

        return watched

    def _saving(self, save: Callable[..., Any]) -> Callable[..., Any]:
        def watched(tensors: Any, path: Path, **settings: Any) -> None:
            def halfway() -> None:
                save(tensors, path, **settings)
                os.truncate(path, path.stat().st_size // 2)

            perform = lambda: save(tensors, path, **settings)  # noqa: E731
            self.watcher(Operation("write", self._place(path), perform, halfway, is_native=True))

        return watched

    def _opened(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def watched(file: Any, mode: str = "r", *rest: Any, **settings: Any) -> Any:
            place = self._place(file)
            if not place:
                return work(file, mode, *rest, **settings)
            perform = lambda: _Raw(self, place, file, mode)  # noqa: E731
            kind = "create" if set(mode) & set("wax+") else "open"
            known = isinstance(file, int)  # the handle of a file that is open already
            raw = perform() if known else self.watcher(Operation(kind, place, perform))
            return _stream(raw, mode, *rest, **settings)

        return watched


class _Raw(io.FileIO):
    """An open file whose reads and writes are operations."""

    def __init__(self, watch: _Watch, place: str, file: Any, mode: str) -> None:
        super().__init__(file, mode.replace("b", "").replace("t", ""))
        self._watcher, self._place, self._handles = watch.watcher, place, watch.handles
        self._handles[self.fileno()] = place

    def close(self) -> None:
        if not self.closed:
            self._handles.pop(self.fileno(), None)
        super().close()

    def write(self, content: Any) -> int:
        part = memoryview(content)[: len(content) // 2]
        super_write = super().write
        operation = Operation(
            "write", self._place, lambda: super_write(content), lambda: super_write(part)
        )
        written: int = self._watcher(operation)
        return written

    def readinto(self, buffer: Any) -> int:
        work = super().readinto
        count: int = self._watcher(Operation("read", self._place, lambda: work(buffer)))
        return count

    def readall(self) -> bytes:
        content: bytes = self._watcher(Operation("read", self._place, super().readall))
        return content


def _stream(
    raw: _Raw,
    mode: str,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    **_: Any,
) -> Any:
    """What `open()` makes of an open file."""
    if buffering == 0:
        return raw
    if "+" in mode:
        buffered: Any = io.BufferedRandom(raw)
    else:
        buffered = io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)
    if "b" in mode:
        return buffered
    return io.TextIOWrapper(buffered, encoding, errors, newline, line_buffering=buffering == 1)

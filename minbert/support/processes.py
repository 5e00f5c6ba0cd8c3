"""Processes, here and on other machines: whether the one that made a file is still alive."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """A process, told apart from a later one with its number. `machine` includes the boot."""

    machine: str
    process: int
    started: str

    @classmethod
    def this(cls) -> Owner:
        """Return the owner that the calling process is."""
        return cls(this_machine(), os.getpid(), started_at(os.getpid()) or "")

    def is_dead(self) -> bool | None:
        """Return whether the process has ended; None for another machine's, which is unknown."""
        if self.machine != this_machine():
            return None
        return not is_running(self.process) or started_at(self.process) != (self.started or None)


def is_running(process: int) -> bool:
    """Return whether a process of this machine has the number."""
    try:
        os.kill(process, 0)
    except (OSError, OverflowError) as error:  # another user's, or no process number at all
        return not isinstance(error, ProcessLookupError)
    return True


@functools.cache
def this_machine() -> str:
    """Return host, boot and process namespace: two containers may share the first two."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        parts += [boot, str(Path("/proc/self/ns/pid").readlink())]
    return " ".join(parts)


def started_at(process: int) -> str | None:
    """Return a process's start time in clock ticks since boot.

    None stands for a dead process, and for every process where there is no /proc.
    """
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    state, threads, start = fields[0], int(fields[17]), fields[19]
    # a zombie has ended, once no other thread of it is left, which would still hold its locks
    return None if state in "ZX" and threads <= 1 else start

"""Claims on a folder: which process works there, on one machine or on several that share it.

A claim is a file, `0001.json`, `0002.json`, ... The highest number holds. The next one may be made
only when that one is free: given back, or its process is dead. A claim is made by a hard link,
which is atomic on NFS too, and is never replaced or removed: when several processes find a dead
claim, one of them gets the next number, and none can take away the claim of another. (A lock file
that is removed when stale has that race, and flock is silently local, or missing, on some network
file systems. Why filelock's SoftFileLease does not serve: docs/design.md, "Experiments".)

A process of this machine is dead when its number is gone or has another start time. A process of
another machine is dead when its claim has not been touched for `STALE` seconds, by the file
server's clock. A process that was only paused for so long finds a higher claim when it wakes, and
ends. A listing that fails or is empty tells nothing: only a higher claim in sight ends a process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from minbert.support import durable_files, untrusted
from minbert.support.console import log
from minbert.support.errors import InputError, RunError
from minbert.support.processes import Owner

TAKEN = 75  # exit code: another process holds the claim (EX_TEMPFAIL of sysexits.h)
BEAT = 15.0  # seconds between two touches
STALE = 180.0  # an NFS client may see a touch 60 s late
_LOOK = 1.0  # seconds between two looks for a higher claim, or a parent that died


class ClaimLost(RunError):
    """Another process has taken over."""


@dataclass(frozen=True)
class Claim:
    """The calling process's claim, in the file `path`."""

    path: Path

    def give_back(self) -> None:
        """Free the folder at once, before this process ends."""
        self.path.with_suffix(".free").touch()

    @contextlib.contextmanager
    def kept(self, parent: int | None = None) -> Iterator[None]:
        """Touch the claim within the block, and give it back at the end.

        A higher claim means that another process has taken over: then this process ends at once,
        with the exit code `TAKEN`. Where a `parent` is named, the process that started this one, it
        sends itself SIGTERM when that has died.
        """
        over = threading.Event()
        beat = threading.Thread(target=self._beat, args=(over, parent), daemon=True)
        beat.start()
        try:
            yield
        finally:
            over.set()
            beat.join()
            self.give_back()

    def holds(self) -> bool:
        """Return whether this claim is seen to be the highest. Raises OSError if none is seen."""
        return _highest(self.path.parent) == self.path

    def check(self) -> None:
        """Raise ClaimLost unless this claim holds."""
        if not self.holds():
            raise ClaimLost(f"{self.path}: another process has taken over")

    def _beat(self, over: threading.Event, parent: int | None) -> None:
        touched, warned = time.monotonic(), False
        while not over.wait(_LOOK):
            with contextlib.suppress(OSError):  # a file server that is away for a moment
                highest = _highest(self.path.parent)
                if highest is not None and int(highest.stem) > int(self.path.stem):
                    log.error("error: %s: another process has taken over", self.path)
                    os._exit(TAKEN)
                if time.monotonic() - touched >= BEAT:
                    touched = time.monotonic()
                    os.utime(self.path)
            if parent not in (None, os.getppid()) and not warned:
                os.kill(os.getpid(), signal.SIGTERM)
                warned = True


def take(folder: Path, make: Callable[[Path, str], bool] | None = None) -> Claim | None:
    """Make the next claim in `folder`; return None where another process holds the last one.

    `make` creates its file, by default `created`. Raises InputError where no claim can be made: no
    hard links here, or no rights.
    """
    make = make or created
    folder.mkdir(parents=True, exist_ok=True)
    highest = _highest(folder)  # read once: the next number must follow the claim that was judged
    if highest is not None and not _is_over(highest):
        return None
    number = int(highest.stem) + 1 if highest is not None else 1
    path = folder / f"{number:04d}.json"
    try:
        return Claim(path) if make(path, json.dumps(asdict(Owner.this()))) else None
    except OSError as error:
        raise InputError(f"{path}: no claim can be made here ({error.strerror})") from error


def created(path: Path, text: str) -> bool:
    """Make a file that is whole from its first moment; return False if it exists already."""
    draft = durable_files.draft_of(path)
    try:
        durable_files.write_text(draft, text)
        with contextlib.suppress(FileExistsError):  # NFS may have lost the answer to a link made
            os.link(draft, path)
        return draft.stat().st_nlink == 2
    finally:
        draft.unlink(missing_ok=True)


def created_anywhere(path: Path, text: str) -> bool:
    """Do as `created` does, also where the file system has no hard links.

    There a kill, or a look at the wrong moment, may find the file without its text. Such a claim
    counts as one of another machine.
    """
    try:
        return created(path, text)
    except OSError:
        with contextlib.suppress(FileExistsError), path.open("x", encoding="utf-8") as stream:
            stream.write(text)
            return True
        return False


def is_free(folder: Path) -> bool:
    """Return whether nobody works there: no claim, the last one given back, or its process dead."""
    claim = _highest(folder)
    return claim is None or _is_over(claim)


def _is_over(claim: Path) -> bool:
    if claim.with_suffix(".free").exists():
        return True
    try:
        owner = Owner(**untrusted.read_object(claim))
        dead = owner.is_dead()
    except (InputError, TypeError):  # damaged from outside: as if of another machine
        dead = None
    touched = claim.lstat().st_mtime  # after the file was opened, which asks the server anew
    return server_time(claim.parent) - touched > STALE if dead is None else dead


def server_time(folder: Path) -> float:
    """Return now (seconds since 1970), by the clock that gives files in `folder` their times."""
    probe = durable_files.draft_of(folder / "probe")
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _highest(folder: Path) -> Path | None:
    try:
        entries = list(folder.iterdir())  # not glob(), which keeps quiet about errors
    except FileNotFoundError:
        return None
    claims = [path for path in entries if path.suffix == ".json" and path.stem.isdecimal()]
    return max(claims, key=lambda path: int(path.stem), default=None)

"""Runs a step of a submission in a process of its own, and says how far that was shut in."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minbert.classroom.marking import warden
from minbert.classroom.source import PACKAGE
from minbert.support.errors import RunError
from minbert.support.untrusted import parsed

# Users that are nobody's on common systems. Each sandbox has its own, also beside those of another
# marking on this machine: limits are a user's, and users can kill their own processes.
_USERS = range(60_706, 61_184)
_STARTING, _GRACE = 120, 20  # seconds for the libraries, and beside those of a step
_LARGEST_HEAD = 2**16  # bytes
_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from {0} import main; main()"


@dataclass(frozen=True)
class Limits:
    """What one step of a submission may use."""

    seconds: int
    memory: int  # MB of addresses for each process, beside what the libraries have


@dataclass(frozen=True)
class Answer:
    """What a step's process has written; empty, with the reason, where it was stopped."""

    content: bytes
    stopped: str = ""


def _environment() -> dict[str, str]:
    """What the libraries need; whatever else is in ours is no submission's business."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {**kept, "OMP_NUM_THREADS": "1", "PATH": os.defpath}


def _user(slot: int) -> int:
    return _USERS[(61 * os.getpid() + slot) % len(_USERS)]


class Sandbox:
    """A warden (warden.py) and what it may use; `slot` numbers the sandboxes of this process."""

    def __init__(self, limits: Limits, libraries: list[str], slot: int = 0) -> None:
        self.limits, self._libraries = limits, libraries
        self.user = _user(slot) if os.geteuid() == 0 else None
        self._folder = tempfile.TemporaryDirectory(prefix="minbert-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        if self.user is not None:
            os.chown(self.folder, -1, self.user)
        self.folder.chmod(0o750)  # no other submission that runs now may look into it
        for name in ("root", "scratch"):
            (self.folder / name).mkdir()
            (self.folder / name).chmod(0o755)
        self._is_closed = False
        self.has_namespaces = False
        self._warden = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        settings = {
            "libraries": self._libraries,
            "root": str(self.folder / "root"),
            "scratch": str(self.folder / "scratch"),
            "user": self.user,
        }
        words = [_START.format(warden.__name__), str(PACKAGE.parent), json.dumps(settings)]
        process = subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the parent to answer
            cwd="/",
            env=_environment(),
        )
        self._warden = process
        said = self._read(_STARTING)
        if said is None:
            self.close()
            raise RunError("the process that runs submissions did not start, see above")
        self.user, self.has_namespaces = said[0]["user"], said[0]["namespaces"]
        return process

    def run(self, tree: Path, step: str, inputs: bytes) -> Answer:
        """Run a step on these inputs by the package in the folder `tree`. Never raises over it."""
        job = {"tree": str(tree), "step": step, "bytes": len(inputs), **vars(self.limits)}
        said = None
        with suppress(OSError):
            assert self._warden.stdin is not None
            self._warden.stdin.write(json.dumps(job).encode() + b"\n" + inputs)
            self._warden.stdin.flush()
            said = self._read(self.limits.seconds + _GRACE)
        if said is None:
            self._end()
            if not self._is_closed:
                self._warden = self._started()
            return Answer(b"", "it brought down the process that ran it")
        head, content = said
        return Answer(content, self._why(head, content))

    def _why(self, head: dict[str, Any], content: bytes) -> str:
        match head.get("why"):
            case warden.TIME:
                return f"it had not ended after {self.limits.seconds} seconds"
            case warden.SIZE:
                return "it wrote far more than the outputs of the step"
        if content:
            return ""
        return f"its process ended before it had an answer (exit status {head.get('status')!r:.9})"

    def _read(self, seconds: float) -> tuple[dict[str, Any], bytes] | None:
        """An answer of the warden's: its head, and what follows; None for none in time."""
        deadline, found = time.monotonic() + seconds, b""
        while b"\n" not in found and len(found) < _LARGEST_HEAD:
            if not (block := self._block(deadline)):
                return None
            found += block
        line, _, content = found.partition(b"\n")
        try:
            head = parsed(line)
            size = int(head["bytes"])
        except (ValueError, TypeError, KeyError):
            return None
        while len(content) < size <= warden.LARGEST_ANSWER:
            if not (block := self._block(deadline)):
                return None
            content += block
        return (head, content) if len(content) == size else None

    def _block(self, deadline: float) -> bytes:
        stream = self._warden.stdout
        assert stream is not None
        left = max(0.0, deadline - time.monotonic())
        return os.read(stream.fileno(), 2**16) if select.select([stream], [], [], left)[0] else b""

    def _end(self) -> None:
        self._warden.kill()
        for stream in (self._warden.stdin, self._warden.stdout):
            with suppress(OSError):
                if stream is not None:
                    stream.close()
        self._warden.wait()

    def close(self) -> None:
        """End the process and remove what it used."""
        self._is_closed = True  # for whoever still runs a step, in another thread
        self._end()
        self._folder.cleanup()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def not_enforced(self) -> str:
        """What a submission can still do on this machine; empty where nothing is left to it."""
        if self.has_namespaces:
            return ""
        if self.user is not None:
            return (
                "not enforced here, as the system allows no namespaces: a submission runs as "
                "another user, but can use the network, and read and write what every user may"
            )
        return (
            "not enforced here, without another user to run as: a submission runs under limits of "
            "time, memory and processes, but can use the network, and read, write and stop what "
            "you can"
        )

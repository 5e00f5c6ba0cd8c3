"""A process of the real command with a fault in it: forked from one that has loaded torch, or new.

Forking saves the seconds of loading. Both ways run the entry point's own file with its own words,
in a folder of their own; what is printed goes to a file beside that folder.
"""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tqdm import tqdm

import minbert
from minbert.experiments.faults.grids import fork_cells
from minbert.experiments.faults.strikes import ATTIC, NOTHING, Fault, Scene
from minbert.experiments.faults.unsynced import Unsynced
from minbert.support import durable_files

_CODE = Path(minbert.__file__).resolve().parents[1]
_ENVIRONMENT = {
    "PYTHONPATH": str(_CODE),
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_LOADED = (
    *("torch._dynamo", "scipy.stats", "tokenizers", "safetensors.torch", "matplotlib.figure"),
    *("minbert.finetune.cli", "minbert.experiments.tables.ablate", __name__),
    "minbert.experiments.presentation.section",
)
PATIENCE = 120.0  # seconds; a process that takes longer hangs
HIT, SEEN = "hit.txt", "seen.json"


@dataclass(frozen=True)
class Order:
    """A process to start: in which folder, the entry point's words, and what goes wrong in it."""

    folder: str
    argv: Sequence[str]
    fault: Fault = NOTHING
    entry: str = "multitask_classifier.py"
    printed: str = "printed.txt"  # beside the folder


@dataclass(frozen=True)
class Ended:
    """What a process left: its exit code, negative where a signal ended it, and what it printed."""

    code: int
    said: str


def live(order: Order) -> None:
    """The life of such a process, to its end."""
    gc.freeze()  # else the collector copies every page that is shared with the parent
    root = Path(order.folder).resolve()
    os.chdir(root)
    tqdm.set_lock(threading.RLock())  # by default one of the system's, which a kill leaves behind
    with (root.parent / order.printed).open("a") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    hit = os.open(root.parent / HIT, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    scene = Scene(
        root,
        order.fault,
        lambda words: _say(hit, words),
        Unsynced(root, root.parent / ATTIC),
    )
    scene.begin()
    if not order.entry.endswith(".py"):
        fork_cells(scene)
    try:
        _enter(order)
    finally:
        if order.fault.what == "nothing" and scene.seen:
            durable_files.write_json(root.parent / SEEN, scene.seen)


def _say(handle: int, words: str) -> None:
    os.write(handle, f"{words}\n".encode(errors="backslashreplace"))


def _enter(order: Order) -> None:
    """Run the entry point's file, or module, as Python does from a shell."""
    sys.argv = [order.entry, *order.argv]
    if order.entry.endswith(".py"):
        runpy.run_path(str(_CODE / order.entry), run_name="__main__")
    else:
        runpy.run_module(order.entry, run_name="__main__", alter_sys=True)


class Started:
    """A process that is started, and what it has printed since."""

    def __init__(
        self, start: Callable[[], BaseProcess | subprocess.Popen[bytes]], order: Order
    ) -> None:
        self._printed = Path(order.folder).parent / order.printed
        self._before = self._printed.stat().st_size if self._printed.exists() else 0
        self._process = start()

    @property
    def pid(self) -> int:
        """The process's number."""
        return int(self._process.pid or 0)

    def ended(self) -> Ended:
        """Wait for its end; one that hangs is killed and says so."""
        code, said = self._code(), ""
        with contextlib.suppress(OSError):
            said = self._printed.read_bytes()[self._before :].decode(errors="replace")
        return Ended(code, said)

    def _code(self) -> int:
        if isinstance(self._process, BaseProcess):
            self._process.join(PATIENCE)
            if self._process.exitcode is None:
                self._process.kill()
                self._process.join()
            return int(self._process.exitcode or 0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(PATIENCE)
        self._process.kill()
        return self._process.wait()


Life = Callable[[Order], None]


class Forks:
    """Starts processes by forking; `life` is what they do, by default `live`."""

    def __init__(self, life: Life = live) -> None:
        self._life = life
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(_LOADED))
        with _environment():
            forkserver.ensure_running()

    def start(self, order: Order) -> Started:
        """Start a process, and return at once."""
        return Started(lambda: self.call(self._life, order), order)

    def call(self, work: Callable[..., Any], *given: Any) -> BaseProcess:
        """Let a process of its own do some work."""
        process = self._context.Process(target=work, args=given)
        process.start()
        return process


class Interpreters:
    """Starts processes as a shell does, by a new interpreter each."""

    def start(self, order: Order) -> Started:
        """Start a process, and return at once."""
        command = [sys.executable, "-m", __name__, json.dumps(asdict(order))]
        environment = {**os.environ, **_ENVIRONMENT}
        return Started(lambda: subprocess.Popen(command, env=environment), order)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    live(Order(**{**told, "fault": Fault(**told["fault"])}))

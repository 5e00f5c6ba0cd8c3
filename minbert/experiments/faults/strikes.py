"""What goes wrong in a process: the faults by name, each at an operation on files or at a step.

A fault is data, so that it can be sent to the process that it happens in and written down. It
strikes once, or from its operation on (`lasting`), as a full disk does.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from minbert.experiments.faults.operations import CHANGING, EVERY, SPACE, Operation, watch
from minbert.experiments.faults.spoils import SPOILS
from minbert.experiments.faults.unsynced import Unsynced
from minbert.training import loop

ATTIC = "attic"  # beside the folder that is watched


@dataclass(frozen=True)
class Fault:
    """What happens (a key of `STRIKES`, or of `SPOILS` at a step), and when; counted from 1.

    `only` keeps the count to these kinds of operation. A fault whose `operation` and `step` are 0
    never happens.
    """

    what: str = "nothing"
    operation: int = 0
    step: int = 0
    lasting: bool = False
    only: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


NOTHING = Fault()


@dataclass
class Scene:
    """The process in which a fault happens: its folder, what it has done, and where to say so."""

    root: Path
    fault: Fault
    note: Callable[[str], None]
    unsynced: Unsynced
    name: str = "runner"
    count: int = 0
    struck: bool = False
    steps: int = 0
    seen: list[str] = field(default_factory=list)

    def on_operation(self, operation: Operation) -> Any:
        """Perform an operation, unless the fault happens here."""
        if (self.struck and not self.fault.lasting) or not self._is_mine(operation):
            return operation.perform()
        self.count += 1
        self.seen.append(operation.words)
        is_due = self.count >= self.fault.operation > 0
        return self.strike(operation) if is_due else operation.perform()

    def _is_mine(self, operation: Operation) -> bool:
        who, only = self.fault.details.get("who", self.name), self.fault.only
        return who == self.name and (not only or operation.kind in only)

    def enter(self, name: str) -> None:
        """Count anew in a process that was forked from this one and is known by a name."""
        self.name, self.count, self.struck = name, 0, False

    def strike(self, operation: Operation) -> Any:
        """Let the fault happen at an operation."""
        if not self.struck:
            self.note(operation.words)
        self.struck = True
        return STRIKES[self.fault.what](self, operation)

    def on_step(self, make_step: Callable[..., None], trainee: Any, *rest: Any) -> None:
        """Make a training step, with the fault in it if it is due; note that it was made."""
        self.steps += 1
        if self.steps != self.fault.step:
            make_step(trainee, *rest)
        elif self.fault.what in SPOILS:
            self.note(f"step {self.steps}")
            SPOILS[self.fault.what](make_step, trainee, *rest, **self.fault.details)
        else:
            self.strike(Operation("step", str(self.steps), lambda: make_step(trainee, *rest)))
        with (self.root.parent / "steps.txt").open("a") as stream:
            stream.write(f"{rest[0]}\n")

    def begin(self) -> None:
        """Watch this process from now on."""
        make_step = loop.train_step
        loop.__dict__["train_step"] = lambda *given: self.on_step(make_step, *given)
        if self.fault.what == "power cut":
            watch(self.root, self.unsynced.watching(self.on_operation))
        elif self.fault.operation or self.fault.only:
            watch(self.root, self.on_operation)


def _kill(scene: Scene, operation: Operation) -> None:
    how = scene.fault.details.get("how", "before")
    if how != "before":
        operation.perform() if how == "after" else operation.halfway()
    os.kill(os.getpid(), signal.SIGKILL)


def _cut_power(scene: Scene, operation: Operation) -> None:
    if scene.fault.details.get("how") == "after":
        operation.perform()
    scene.unsynced.cut(scene.fault.details["mode"], scene.fault.details["seed"])
    os.kill(os.getpid(), signal.SIGKILL)


_REFUSED: Mapping[int, Sequence[str]] = {errno.ENOSPC: SPACE, errno.EROFS: CHANGING}


def _fail(scene: Scene, operation: Operation) -> Any:
    """Raise the error, after half of a write is done; what a full disk allows is performed."""
    number = scene.fault.details["errno"]
    if operation.kind not in _REFUSED.get(number, EVERY):
        return operation.perform()
    if number == errno.ENOSPC:
        operation.halfway()
    text = os.strerror(number)
    if operation.is_native:
        raise SafetensorError(f"I/O error: {text} (os error {number})")
    raise OSError(number, text, operation.path)


def _signal(scene: Scene, operation: Operation) -> Any:
    """Send signals, the first one now and the others after some seconds each."""
    numbers, gaps = scene.fault.details["numbers"], scene.fault.details["gaps"]

    def burst() -> None:
        for number, gap in zip(numbers[1:], gaps, strict=False):
            time.sleep(gap)
            os.kill(os.getpid(), number)

    if len(numbers) > 1:
        threading.Thread(target=burst, daemon=True).start()
    os.kill(os.getpid(), numbers[0])
    return operation.perform()


def _limit_memory(scene: Scene, operation: Operation) -> Any:
    """Leave the process no more address space than it has, and some megabytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + int(scene.fault.details["megabytes"] * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
    return operation.perform()


def _vanish(scene: Scene, operation: Operation) -> Any:
    """Take a folder away, as a file server does that is gone."""
    path = scene.root / scene.fault.details["path"]
    if path.exists():
        path.rename(scene.root.parent / f"{path.name}.away")
    return operation.perform()


STRIKES: Mapping[str, Callable[[Scene, Operation], Any]] = {
    "kill": _kill,
    "power cut": _cut_power,
    "error": _fail,
    "signals": _signal,
    "memory": _limit_memory,
    "vanish": _vanish,
    "nothing": lambda _scene, operation: operation.perform(),
}

"""A part in a process of its own: its time limit, its log, and how it ended."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path

from minbert.experiments.gpu.findings import Findings
from minbert.experiments.gpu.material import Setting

MODULES = "minbert.experiments.gpu"  # where a part is a module with a `measure`
_RESERVE = 3.0  # seconds in which a part that was told its time may still end by itself
_GRACE = 5.0
_LIBRARIES = ["torch", "torch._dynamo", "scipy.stats", "minbert.experiments.gpu.material"]


@dataclass(frozen=True)
class Ended:
    """How a part ended, and its seconds."""

    status: str
    seconds: float


def found_at(out: Path, part: str) -> Path:
    """The file of a part's findings."""
    return out / "parts" / f"{part}.json"


def run(part: str, setting: Setting, seconds: float, meanwhile: Callable[[], None]) -> Ended:
    """Run a part for at most so many seconds; `meanwhile` is called about once a second."""
    context = multiprocessing.get_context("forkserver")  # its server never touches the GPU
    context.set_forkserver_preload(_LIBRARIES)
    process = context.Process(target=_work, args=(part, MODULES, setting, seconds))
    process.start()
    began = time.monotonic()
    try:
        while process.is_alive() and time.monotonic() < began + seconds:
            process.join(min(1.0, seconds))
            meanwhile()
        status = _status(process, seconds)
    finally:
        _end(process)
    return Ended(status, round(time.monotonic() - began, 1))


def _status(process: BaseProcess, seconds: float) -> str:
    if process.is_alive():
        return f"stopped after {seconds:.0f} s"
    return "done" if process.exitcode == 0 else f"failed with exit code {process.exitcode}"


def _end(process: BaseProcess) -> None:
    """End the process, and with it what it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.is_alive() and process.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
            process.join(_GRACE)
    process.join()


def _work(part: str, modules: str, setting: Setting, seconds: float) -> None:
    """What the process does: everything it prints goes to the part's log."""
    with suppress(PermissionError):  # it is one already
        os.setpgid(0, 0)
    with (setting.out / "parts" / f"{part}.log").open("w") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr = log
        findings = Findings(found_at(setting.out, part), seconds - _RESERVE)
        import_module(f"{modules}.{part}").measure(setting, findings)
        sys.exit(int(findings.failed))

"""Processes that train one model together on one machine. A process alone is rank 0 of 1.

Rank 0 is the process that was started; it starts the others, and they end with it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait as wait_for_any
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from tqdm import tqdm

from minbert.support.errors import InputError, RunError, Stopped

T = TypeVar("T")
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}
_PAUSE = 1e-4  # seconds between looks at an exchange, in which a signal can be handled
_GRACE = 5.0  # seconds from a lost connection to the end of the process behind it
_others: list[_Other] = []  # the ranks that this process has started


def rank() -> int:
    """The number of this process."""
    return dist.get_rank() if _together() else 0


def size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if _together() else 1


def mine(items: Sequence[T]) -> Sequence[T]:
    """This rank's share of a list that all ranks have: every `size()`-th item."""
    return items[rank() :: size()]


def summed(tensor: Tensor) -> Tensor:
    """The sum of all ranks' tensors, written into `tensor`.

    Raises what ended a rank that is gone: InputError, RunError or Stopped.
    """
    if _together():
        _exchange(tensor, dist.ReduceOp.SUM)
    return tensor


def highest(value: int) -> int:
    """The highest of all ranks' values. Raises what `summed` does."""
    if not _together():
        return value
    shared = torch.tensor(value)  # on the host: no device is waited for
    _exchange(shared, dist.ReduceOp.MAX)
    return int(shared)


def wait() -> None:
    """Return when every rank has called this. Raises what `summed` does."""
    highest(0)


@contextlib.contextmanager
def first_alone() -> Iterator[None]:
    """Let rank 0 run the block, then the others, and let all go on together."""
    if rank() > 0:
        wait()
    yield
    if rank() == 0:
        wait()
    wait()


def check(count: int, device: torch.device) -> None:
    """Raise InputError where the device has no place for `count` ranks."""
    if count == 1:
        return
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--ranks {count}: not on {device.type}; add --device cpu")
    if device.type == "cuda" and count > torch.cuda.device_count():
        raise InputError(f"--ranks {count}: {torch.cuda.device_count()} GPUs are here, one a rank")


@contextlib.contextmanager
def started(count: int, device: torch.device, work: Callable[[], int]) -> Iterator[None]:
    """Make this process rank 0 of `count` within the block; the others do `work` and end with it.

    `work` is pickled, and returns an exit code. What the other ranks print is lost, except the
    error of a rank that fails. The processor's threads are divided among all ranks.
    """
    if count == 1:
        yield
        return
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _others[:] = [_Other(place, number, count, device.type, work) for number in range(1, count)]
        try:
            for other in _others:
                other.start()
            for other in _others:
                other.wait_until_ready()
            with _group(place, 0, count, device.type):
                yield
        finally:
            for other in _others:
                other.end()
            _others.clear()
            torch.set_num_threads(threads)


class _Other:
    """A rank that rank 0 has started."""

    def __init__(
        self, place: Path, number: int, count: int, kind: str, work: Callable[[], int]
    ) -> None:
        self._number = number
        self._words, self._ready = _words(place, number), _ready(place, number)
        self._words.touch()
        self._process: BaseProcess = multiprocessing.get_context("spawn").Process(
            target=_follow, args=(place, number, count, kind, work), daemon=True
        )

    def start(self) -> None:
        """Start the process with Ctrl-C blocked, which reaches every process of a terminal."""
        # the process inherits the mask: rank 0 passes the signal on
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def wait_until_ready(self) -> None:
        """Return when the rank is about to join. Unlike joining, this can be interrupted."""
        while not self._ready.exists():
            if self._process.exitcode is not None:
                raise self.why()
            time.sleep(0.02)

    @property
    def sentinel(self) -> int:
        """The handle that becomes ready when the process ends."""
        return self._process.sentinel

    def end(self) -> None:
        """Kill the process: it writes no file that could be cut short."""
        if self._process.pid is not None:
            self._process.kill()
            self._process.join()

    def why(self) -> BaseException:
        """The error with which this process ends because the rank has ended."""
        self._process.join()
        code = self._process.exitcode or 0
        number = -code if code < 0 else code - 128
        if number in (signal.SIGINT, signal.SIGTERM):
            return Stopped(number)
        if code < 0:
            more = " (out of memory?)" if number == signal.SIGKILL else ""
            return RunError(f"rank {self._number} was killed by {_name(number)}{more}")
        words = self._words.read_text(encoding="utf-8", errors="replace").strip().split("\n")
        said = words[-1].removeprefix("error: ") or f"exit code {code}"
        return InputError(said) if code == 2 else RunError(f"rank {self._number}: {said}")


def _words(place: Path, number: int) -> Path:
    """The file of what a rank prints."""
    return place / f"rank-{number}.txt"


def _ready(place: Path, number: int) -> Path:
    """The file that exists once the rank is about to join."""
    return place / f"rank-{number}.ready"


def _follow(place: Path, number: int, count: int, kind: str, work: Callable[[], int]) -> None:
    """Run a rank that rank 0 started, from its first line to its exit code."""
    with _words(place, number).open("w") as stream:
        for output in (sys.stdout, sys.stderr):
            os.dup2(stream.fileno(), output.fileno())
    tqdm.set_lock(threading.RLock())  # tqdm's lock between processes would outlive a killed one
    threading.Thread(target=_end_with_rank_0, daemon=True).start()
    _ready(place, number).touch()
    with _group(place, number, count, kind):
        sys.exit(work())


def _end_with_rank_0() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for_any([parent.sentinel])
    os._exit(1)


@contextlib.contextmanager
def _group(place: Path, number: int, count: int, kind: str) -> Iterator[None]:
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    if sys.platform in _LOOPBACK:  # otherwise gloo asks the network for the machine's name
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK[sys.platform])
    backend = "gloo"
    if kind == "cuda":
        torch.cuda.set_device(number)
        backend = "cpu:gloo,cuda:nccl"
    where = (place / "store").resolve().as_uri()
    dist.init_process_group(backend, init_method=where, rank=number, world_size=count)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _exchange(tensor: Tensor, operation: dist.ReduceOp.RedOpType) -> None:
    """Reduce a tensor over all ranks, in place."""
    try:
        exchange = dist.all_reduce(tensor, operation, async_op=True)
        assert exchange is not None
        while tensor.device.type == "cpu" and not exchange.is_completed():
            time.sleep(_PAUSE)  # a wait inside the library could not be interrupted
        exchange.wait()
    except RuntimeError as error:
        ended = wait_for_any([other.sentinel for other in _others], timeout=_GRACE)
        for other in _others:
            if other.sentinel in ended:
                raise other.why() from error
        raise RunError(f"the ranks have lost each other: {error}") from error


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

"""Processes that train one model together on one machine; without any, nothing here does anything.

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
    """This process's number."""
    return dist.get_rank() if _together() else 0


def size() -> int:
    """How many there are."""
    return dist.get_world_size() if _together() else 1


def mine(items: Sequence[T]) -> Sequence[T]:
    """This rank's share of work that all know: every `size()`-th."""
    return items[rank() :: size()]


def summed(tensor: Tensor) -> Tensor:
    """The sum of every rank's tensor, in its place.

    Raises what ended a rank that is gone: InputError, RunError or Stopped.
    """
    if _together():
        _exchange(tensor, dist.ReduceOp.SUM)
    return tensor


def highest(value: int) -> int:
    """The highest of every rank's values. Raises what `summed` does."""
    if not _together():
        return value
    shared = torch.tensor(value)  # on the host: no device is waited for
    _exchange(shared, dist.ReduceOp.MAX)
    return int(shared)


def wait() -> None:
    """Return when every rank has come here. Raises what `summed` does."""
    highest(0)


@contextlib.contextmanager
def first_alone() -> Iterator[None]:
    """Rank 0 does the block, then the others do, and all go on together."""
    if rank() > 0:
        wait()
    yield
    if rank() == 0:
        wait()
    wait()


def check(count: int, device: torch.device) -> None:
    """Raise InputError where so many ranks have no place."""
    if count == 1:
        return
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--ranks {count}: not on {device.type}; add --device cpu")
    if device.type == "cuda" and count > torch.cuda.device_count():
        raise InputError(f"--ranks {count}: {torch.cuda.device_count()} GPUs are here, one a rank")


@contextlib.contextmanager
def started(count: int, device: torch.device, work: Callable[[], int]) -> Iterator[None]:
    """Within the block this process is rank 0 of `count`; the others do `work`, and end with it.

    `work`, to be pickled, returns an exit code. What the others print is lost, but for the error of
    one that fails. The processor's threads are divided among all.
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
            target=_follow,
            args=(place, number, count, kind, work),
            daemon=True,
        )

    def start(self) -> None:
        """Ctrl-C reaches all processes of a terminal; it is for rank 0 to pass it on."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which is inherited
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def wait_until_ready(self) -> None:
        """Return when it is about to join. Unlike joining, this can be interrupted."""
        while not self._ready.exists():
            if self._process.exitcode is not None:
                raise self.why()
            time.sleep(0.02)

    @property
    def sentinel(self) -> int:
        """What becomes ready when it ends."""
        return self._process.sentinel

    def end(self) -> None:
        """It writes nothing that could be cut short."""
        if self._process.pid is not None:
            self._process.kill()
            self._process.join()

    def why(self) -> BaseException:
        """What ended it, as this process's own end."""
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
    """What a rank prints."""
    return place / f"rank-{number}.txt"


def _ready(place: Path, number: int) -> Path:
    """There when the rank is about to join."""
    return place / f"rank-{number}.ready"


def _follow(place: Path, number: int, count: int, kind: str, work: Callable[[], int]) -> None:
    """The life of a rank that rank 0 started."""
    with _words(place, number).open("w") as stream:
        for own in (sys.stdout, sys.stderr):
            os.dup2(stream.fileno(), own.fileno())
    tqdm.set_lock(threading.RLock())  # else one between processes, which a killed one leaves behind
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
    if sys.platform in _LOOPBACK:  # else gloo looks the machine's name up in the network
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
    """Reduce over all ranks, in place."""
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

"""Processes that train one model together on one machine; without any, nothing here does anything.

Rank 0 is the process that was started; it starts the others, and ends them with itself.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
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

from minbert.runtime import InputError, RunError, log

T = TypeVar("T")
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}
_STOPPED = (0, 130, 143)  # exit codes of a rank that was told to end
_GRACE = 10.0  # seconds in which rank 0 should have noticed itself that another is gone


class _RankGoneError(RunError):
    """A rank has ended in the middle of the work."""


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
    """The sum of every rank's tensor, in its place. Raises RunError where a rank is gone."""
    if _together():
        with _named_failure():
            dist.all_reduce(tensor)
    return tensor


def highest(value: int) -> int:
    """The highest of every rank's values. Raises RunError where a rank is gone."""
    if not _together():
        return value
    shared = torch.tensor(value)  # on the host: no device is waited for
    with _named_failure():
        dist.all_reduce(shared, dist.ReduceOp.MAX)
    return int(shared)


def wait() -> None:
    """Return when every rank has come here. Raises RunError where one is gone."""
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

    `work`, to be pickled, returns an exit code. What the others print is lost, but for the last
    line of one that fails. The processor's threads are divided among all.
    """
    if count == 1:
        yield
        return
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as place:
        others = [
            multiprocessing.get_context("spawn").Process(
                target=_follow, args=(Path(place), number, count, device.type, work), daemon=True
            )
            for number in range(1, count)
        ]
        for other in others:
            other.start()
        over = threading.Event()
        threading.Thread(target=_watch, args=(others, Path(place), over), daemon=True).start()
        try:
            _await(others, Path(place))
            with _group(Path(place), 0, count, device.type):
                yield
        except _RankGoneError as error:
            raise RunError(_why(others, Path(place))) from error
        finally:
            over.set()
            for other in others:  # they write nothing that could be cut short
                other.kill()
                other.join()
            torch.set_num_threads(threads)


def _follow(place: Path, number: int, count: int, kind: str, work: Callable[[], int]) -> None:
    """The life of a rank that rank 0 started."""
    with _words(place, number).open("w") as words:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(words.fileno(), stream.fileno())
    _ready(place, number).touch()
    with _group(place, number, count, kind):
        sys.exit(work())


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


def _await(others: Sequence[BaseProcess], place: Path) -> None:
    """Return when all others are about to join. Unlike joining, this can be interrupted."""
    for number, other in enumerate(others, start=1):
        while not _ready(place, number).exists():
            if other.exitcode is not None:
                raise RunError(_last_words(place, number))
            time.sleep(0.02)


def _watch(others: Sequence[BaseProcess], place: Path, over: threading.Event) -> None:
    """End this process where another rank has failed and rank 0 waits for it for ever."""
    running: dict[object, int] = {other.sentinel: n for n, other in enumerate(others, start=1)}
    while running and not over.is_set():
        for sentinel in wait_for_any([others[n - 1].sentinel for n in running.values()]):
            number = running.pop(sentinel)
            if others[number - 1].exitcode not in _STOPPED and not over.wait(_GRACE):
                log.error("error: %s", _last_words(place, number))
                os._exit(1)


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextlib.contextmanager
def _named_failure() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise _RankGoneError(f"another rank is gone: {error}") from error


def _why(others: Sequence[BaseProcess], place: Path) -> str:
    """What rank 0 says where a rank is gone."""
    ended = wait_for_any([other.sentinel for other in others], timeout=_GRACE)
    gone = [number for number, other in enumerate(others, 1) if other.sentinel in ended]
    return _last_words(place, gone[0]) if gone else "the ranks do not reach each other"


def _last_words(place: Path, number: int) -> str:
    said = []
    with contextlib.suppress(OSError):  # it came to an end before it could have a word
        lines = _words(place, number).read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line for line in lines if line.strip()]
    return f"rank {number} ended: {said[-1] if said else 'without a word'}"


def _ready(place: Path, number: int) -> Path:
    return place / f"rank-{number}.ready"


def _words(place: Path, number: int) -> Path:
    return place / f"rank-{number}.txt"

"""Processes that train together: who belongs to them, what they exchange, how they end."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from minbert.support import device
from minbert.support.device import use_threads
from minbert.support.errors import InputError, RunError, Stopped
from minbert.support.signals import StopRequest
from minbert.training import group, precision

FORK = get_context("fork")


def exchange(place: Path, _stop: StopRequest) -> list[int]:
    """In each of two ranks: everything that they can do together."""
    number, log = group.rank(), logging.getLogger("minbert")
    assert group.size() == 2 and group.wanted(1) == group.wanted(2) == 2
    with pytest.raises(InputError, match=r"^--ranks 3: 2 were started already"):
        group.wanted(3)
    assert os.environ["GLOO_SOCKET_IFNAME"] == group._LOOPBACK[sys.platform]
    assert group.summed(torch.ones(3) + number).tolist() == [3, 3, 3]
    assert group.highest(number) == 1
    with group.first_alone():
        if number == 0:
            time.sleep(0.3)
            (place / "first").touch()
        assert (place / "first").exists()
    with pytest.raises(InputError, match=r"^2 ranks, 0 mps here: take fewer or --device cpu$"):
        group.take(torch.device("mps"))
    for able, found in (({0}, "fp32"), ({0, 1}, "bf16")):
        device.multiplies_bf16 = lambda able=able: number in able
        assert precision.agreed("auto", torch.device("cpu"), lowers=True) == found
    log.warning("said by rank %d", number)
    log.error("shown once, by whichever rank")
    return [torch.get_num_threads(), number]


def fail(_stop: StopRequest) -> None:
    if group.rank() == 1:
        raise ValueError("no such weight")
    group.wait()


def crash(_stop: StopRequest) -> None:
    if group.rank() == 1:
        os.abort()
    group.wait()


def test_two_ranks_exchange_and_only_one_speaks(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(5)
    try:
        assert group.launch(2, partial(exchange, tmp_path)) == [2, 0]
    finally:
        torch.set_num_threads(1)
    said = capfd.readouterr().err.splitlines()
    assert sorted(said) == ["said by rank 0", "shown once, by whichever rank"]


@pytest.mark.usefixtures("forked_ranks")
def test_a_rank_that_fails_is_named() -> None:
    with pytest.raises(RunError, match=r"^rank 1: ValueError\('no such weight'\)$"):
        group.launch(2, fail)


def test_a_rank_that_crashes_is_named() -> None:
    with pytest.raises(RunError, match=r"^rank 1 was killed by SIGABRT$"):
        group.launch(2, crash)


def lack_memory(_stop: StopRequest) -> None:
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")


def lack_memory_within_a_reader(stop: StopRequest) -> None:
    try:
        lack_memory(stop)
    except RuntimeError as error:
        raise InputError("weights: damaged") from error


def be_stopped(_stop: StopRequest) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("work", "error", "words"),
    [
        (lack_memory, torch.OutOfMemoryError, "DefaultCPUAllocator: can't"),
        (lack_memory_within_a_reader, torch.OutOfMemoryError, "weights: damaged"),
        (be_stopped, Stopped, "SIGTERM"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_ends_a_rank_is_said_as_of_one_process(
    tmp_path: Path, work, error: type, words: str
) -> None:
    """A lack of memory with what to do, for example, and no traceback."""
    (tmp_path / "work").write_bytes(pickle.dumps((work, 1, None)))
    with pytest.raises(SystemExit):
        group.follow(str(tmp_path))
    left = group._reason(tmp_path, {})
    assert type(left) is error and str(left).startswith(words)


def test_ranks_that_left_no_error_are_named() -> None:
    def reason(*codes: int) -> BaseException:
        failures = {n: SimpleNamespace(exitcode=c, timestamp=n) for n, c in enumerate(codes)}
        return group._reason(Path("nowhere"), failures)

    stopped = reason(-signal.SIGTERM, 1)  # while it was still loading torch
    assert isinstance(stopped, Stopped) and stopped.signum == signal.SIGTERM
    assert str(reason(3, -signal.SIGTERM)) == "rank 0 ended with exit code 3"
    assert str(reason(-signal.SIGTERM, -signal.SIGSEGV)) == "rank 1 was killed by SIGSEGV"


def test_a_rank_whose_launcher_was_killed_before_it_looked_ends() -> None:
    """Its parent is another process by then, as here."""
    rank = FORK.Process(target=group._end_with, args=(1 << 22,))
    rank.start()
    rank.join(60)
    assert rank.exitcode == 1


@pytest.mark.parametrize("launched", [True, False])
def test_a_launchers_store_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, launched: bool
) -> None:
    """It is there before the ranks, or was; ranks that nobody launched may come later."""
    met: list[dict[str, Any]] = []
    monkeypatch.setattr(group.dist, "rendezvous", lambda _url, **limit: iter(met.append(limit)))
    named_alone(monkeypatch, {"WORLD_SIZE": "2"})
    if launched:
        monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    with pytest.raises(TypeError), group.joined():
        pass
    assert met == [{"timeout": group._MEETING}] * launched + [{}] * (not launched)


def test_a_process_alone_is_a_group_of_one() -> None:
    assert (group.rank(), group.size(), group.highest(7), group.restarted()) == (0, 1, 7, False)
    assert group.wanted(4) == 4
    assert group.summed(torch.ones(1)) == 1
    with group.joined(), group.first_alone():
        group.wait()
        group.take(torch.device("cuda"))


def agreed(store: Any, counts: Sequence[int], *, first: int) -> set[tuple[str, bool]]:
    """What the ranks of a start agree on, whose launchers have counted so many restarts.

    Rank `first` comes before the others.
    """

    def come(number: int) -> tuple[str, bool]:
        return group._agreed(store, number, len(counts), again=counts[number] > 0)

    with ThreadPoolExecutor(len(counts)) as ranks:
        early = ranks.submit(come, first)
        time.sleep(0.1)
        assert not early.done()
        late = [ranks.submit(come, number) for number in range(len(counts)) if number != first]
        return {coming.result(timeout=20) for coming in (early, *late)}


@pytest.mark.parametrize("first", [0, 1, 2])
def test_ranks_agree_on_a_start_whatever_their_launchers_count(first: int) -> None:
    """torch's launcher counts on its own machine; a killed start leaves its names in the store."""
    store = group.dist.HashStore()
    ((start, again),) = agreed(store, (0, 0, 0), first=first)
    assert not again
    for counts in ((0, 1, 0), (1, 1, 0), (0, 0, 0)):
        store.set("name of 1", "of a rank that was killed before it was answered to")
        ((later, again),) = agreed(store, counts, first=first)
        assert again and later != start
        start = later


def test_a_launcher_without_a_store_tells_of_a_restart() -> None:
    ((_, again),) = agreed(group.dist.HashStore(), (1, 1), first=0)
    assert again


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"WORLD_SIZE": "two"}, r"^WORLD_SIZE two: must be a number"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, r"^WORLD_SIZE 2: .*MASTER_ADDR expected"),
    ],
    ids=["garbage", "no address"],
)
def test_half_a_group_in_the_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, named: dict[str, str], words: str
) -> None:
    named_alone(monkeypatch, named)
    with pytest.raises(InputError, match=words), group.joined():
        pass


@pytest.mark.parametrize(
    ("here", "omp", "threads"),
    [("2", "1", 3), ("4", "1", 1), ("2", "4", None), ("1", "1", None)],
    ids=["two", "four", "asked for", "alone on its machine"],
)
def test_ranks_divide_the_cores_of_their_machine(
    monkeypatch: pytest.MonkeyPatch, here: str, omp: str, threads: int | None
) -> None:
    """Unless the user has asked for so many threads: torchrun itself asks for one."""
    monkeypatch.setattr(group, "cores", lambda: 6)
    found: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    world = {"WORLD_SIZE": "4", "RANK": "0", "LOCAL_WORLD_SIZE": here, "OMP_NUM_THREADS": omp}
    named_alone(monkeypatch, world)
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    with pytest.raises(InputError), group.joined():
        pass
    assert found == ([] if threads is None else [threads])
    assert ("GLOO_SOCKET_IFNAME" in os.environ) == (here == "4")  # on other machines: not loopback


def named_alone(monkeypatch: pytest.MonkeyPatch, named: dict[str, str]) -> None:
    """Name a group in the environment that nobody can join."""
    monkeypatch.setattr(group.threading.Thread, "start", lambda _self: None)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    for name, value in named.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("count", "ranks_here", "each"),
    [(3, None, [3]), (5, "2", [2]), (1, "4", [1]), (None, None, []), (None, "2", [])],
)
def test_ranks_share_the_threads_that_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, count: int | None, ranks_here: str | None, each: list[int]
) -> None:
    found: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
        if ranks_here is not None:
            monkeypatch.setenv(name, ranks_here)
    use_threads(count, group.ranks_here())
    assert found == each


def test_a_rank_takes_the_gpu_of_its_number_on_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(group, "_together", lambda: True)
    monkeypatch.setattr(group, "rank", lambda: 5)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for name, value in {"WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    group.take(torch.device("cuda"))
    group.take(torch.device("cpu"))
    assert taken == [1]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "6")
    with pytest.raises(InputError, match=r"^6 ranks, 4 cuda here: take fewer or --device cpu$"):
        group.take(torch.device("cuda"))

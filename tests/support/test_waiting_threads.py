"""The wait of threads for each other: awake on quiet cores, asleep beside other work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from minbert import SPINS
from minbert.support import waiting
from tests.helpers import ROOT

_SAY = (
    "import sys, minbert, os; print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'], "
    "os.environ.get('GOMP_SPINCOUNT'))"
)
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, ["PASSIVE", SPINS]),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ["ACTIVE", "None"]),
        ({"GOMP_SPINCOUNT": "7"}, ["PASSIVE", "7"]),
    ],
)
def test_the_wait_is_settled_unless_the_user_says_otherwise(
    chosen: dict[str, str], expected: list[str]
) -> None:
    """It is settled before torch is imported, since OpenMP reads it only then."""
    known = {**os.environ, **chosen}
    for name in {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} - chosen.keys():
        known.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", _SAY], cwd=ROOT, env=known, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", *expected]


def test_threads_sleep_at_once_beside_other_work_and_for_a_while_after() -> None:
    crowding = waiting.Crowding()
    assert not any(crowding.after(interruptions) for interruptions in (0, 13, 46, 99))
    assert all(crowding.after(interruptions) for interruptions in (330, 5000, 100))
    judged = [crowding.after(20) for _ in range(10)]
    assert judged == sorted(judged, reverse=True) and judged[0] and not judged[-1]


def _soon(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + 60
    while not holds() and time.monotonic() < until:
        time.sleep(0.01)
    return holds()


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@ON_LINUX
@pytest.mark.parametrize("cores", [2, 3, 8])
def test_threads_outnumber_the_cores_until_idle_teams_are_dismissed(
    cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More threads than cores are what sends the computation's threads to sleep."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(cores)))
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        torch.ones(1 << 17).sum()  # this thread's own team
        before = _threads()
        teams = waiting.IdleTeams()
        leaders = len(teams._leaders)
        assert cores < 3 + 2 * leaders <= max(cores + 2, 5)
        assert _soon(lambda: _threads() == before + 3 * leaders)
        teams.dismiss()
        assert _soon(lambda: _threads() == before)
    finally:
        torch.set_num_threads(threads)


def test_teams_idle_while_the_cores_are_crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    class Teams:
        def __init__(self) -> None:
            events.append("teams")

        def dismiss(self) -> None:
            events.append("dismissed")

    seconds = [20, 20, 900, 4000, 900, *[20] * 10, 500, *[20] * 10]

    def interruptions() -> int:
        if not seconds:
            raise SystemExit
        events.append(str(seconds[0]))
        count.append(count[-1] + seconds.pop(0))
        return count[-1]

    count = [0]
    monkeypatch.setattr(waiting, "_INTERVAL", 0)
    monkeypatch.setattr(waiting, "IdleTeams", Teams)
    monkeypatch.setattr(waiting, "_interruptions", interruptions)
    with pytest.raises(SystemExit):
        waiting._watch()
    changes = [event for event in events if not event.isdigit()]
    assert changes == ["teams", "dismissed"] * 2
    assert events[events.index("teams") - 1] == "900"


@pytest.mark.parametrize(
    ("spins", "threads", "watched"),
    [(SPINS, 2, sys.platform == "linux"), (SPINS, 1, False), ("7", 2, False)],
)
def test_other_work_is_watched_for_where_several_threads_may_stay_awake(
    spins: str, threads: int, watched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = threading.Event()
    monkeypatch.setattr(waiting, "_watch", started.set)
    monkeypatch.setenv("GOMP_SPINCOUNT", spins)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    waiting.watch_for_other_work.__wrapped__()
    assert started.wait(10 if watched else 0.05) == watched

"""How the threads of a computation wait for each other: awake while the cores are theirs alone.

A step on the CPU is hundreds of short pieces, each shared among the threads. To fall asleep and be
woken between two pieces can take as long as a piece, so threads that stay awake are up to twice as
fast. Beside other work they are up to five times slower, since a thread that waits holds the core
that the one it waits for needs. OpenMP reads how to wait once, as torch is imported. But GNU's
OpenMP lets no thread stay awake while there are more of them than cores (`do_spin` in libgomp's
config/linux/wait.h). So idle teams of threads send the others to sleep.
"""

import functools
import os
import sys
import threading
import time

import torch

from minbert import SPINS

_INTERVAL = 1.0  # seconds
_CROWDED = 100  # times a second that threads lose their core; alone under 50, beside work over 300
_TRUSTED = 5  # seconds without other work before threads stay awake again
_SHARED_SIZE = 1 << 17  # elements, enough for torch to share a sum among its threads


class Crowding:
    """Whether other work shares the cores, judged each second anew."""

    def __init__(self) -> None:
        self._quiet_seconds = _TRUSTED

    def after(self, interruptions: int) -> bool:
        """Judge after a second in which the threads lost their core so many times."""
        self._quiet_seconds = self._quiet_seconds + 1 if interruptions < _CROWDED else 0
        return self._quiet_seconds < _TRUSTED


class IdleTeams:
    """Teams of OpenMP threads that make threads outnumber the cores until they are dismissed."""

    def __init__(self) -> None:
        threads, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
        count = max(1, (cores - threads) // (threads - 1) + 1)  # a team's leader is not OpenMP's
        self._end = threading.Event()
        self._leaders = [threading.Thread(target=self._lead, daemon=True) for _ in range(count)]
        for leader in self._leaders:
            leader.start()

    def _lead(self) -> None:
        torch.ones(_SHARED_SIZE).sum()  # OpenMP makes a team for each thread that shares its work
        self._end.wait()  # and ends the team with it

    def dismiss(self) -> None:
        """End the teams' threads."""
        self._end.set()
        for leader in self._leaders:
            leader.join()


@functools.cache  # once a process
def watch_for_other_work() -> None:
    """Let this process's threads wait awake or asleep, by whether other work shares the cores.

    Nothing is watched where the user chose how they wait, or where there is nothing to choose.
    """
    ours = os.environ.get("GOMP_SPINCOUNT") == SPINS
    if sys.platform == "linux" and ours and torch.get_num_threads() > 1:
        threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    crowding, teams, before = Crowding(), None, _interruptions()
    while True:
        time.sleep(_INTERVAL)
        now = _interruptions()
        crowded, before = crowding.after(now - before), now
        if crowded and teams is None:
            teams = IdleTeams()
        elif teams is not None and not crowded:
            teams.dismiss()
            teams = None


def _interruptions() -> int:
    """How often the system has taken a core from a thread of this process that needed it."""
    from resource import RUSAGE_SELF, getrusage  # not on every system

    return getrusage(RUSAGE_SELF).ru_nivcsw

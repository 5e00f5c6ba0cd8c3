"""How long to wait for a server, how often to ask again, and when to give up."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from minbert.support.console import log
from minbert.support.errors import RunError


@dataclass(frozen=True)
class Patience:
    """Limits on waiting for a server, in seconds unless another unit is named.

    `window` and `least` are one rule: a server that sends fewer than `least` bytes in `window`
    seconds has stalled. `silence` alone would wait for ever on one that sends a byte a second.
    """

    connect: float = 10.0
    silence: float = 30.0  # without a single byte
    window: float = 30.0
    least: int = 32 * 1024  # bytes
    tries: int = 5  # failures in a row, without `least` bytes of progress between them
    pause: float = 1.0  # before the second try; it doubles from try to try
    longest_pause: float = 30.0

    @property
    def answer(self) -> float:
        """Seconds in which a server must have answered: longer than any of its parts may take."""
        return self.connect + self.silence + self.window


class Fault(Exception):
    """The failure of a try after which another may succeed.

    `wait` is how long the server asked us to wait, in seconds. `spoiled` says that the bytes that
    arrived so far are of no use to the next try.
    """

    def __init__(self, what: str, *, wait: float = 0.0, spoiled: bool = False) -> None:
        super().__init__(what)
        self.wait, self.spoiled = wait, spoiled


@contextlib.contextmanager
def answered_within(seconds: float) -> Iterator[None]:
    """Raise Fault in the midst of the block once it has lasted so long (main thread only).

    A client's timeouts count from byte to byte, and would wait for ever on a server that drips the
    lines of its head, or answers 1xx again and again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise Fault(f"no whole answer came in {seconds:.3g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class NoConnection(Fault):
    """The failure of a try that did not reach the server at all."""


class Unreachable(RunError):
    """The end of all tries at a server that the last ones did not reach."""


class Tries:
    """The failures in a row at one address, with a pause before each further try."""

    def __init__(self, what: str, patience: Patience) -> None:
        self._what, self._patience = what, patience
        self._count, self._mark = 0, 0

    def failed(self, fault: Fault, reached: int = 0) -> None:
        """Wait before the next try; `reached` is how many bytes are there now.

        Raises RunError after the last try, or Unreachable where that had no connection.
        """
        limits = self._patience
        if reached >= self._mark + limits.least:  # the mark only rises, so this ends
            self._count, self._mark = 0, reached
        self._count += 1
        if self._count >= limits.tries:
            nobody = isinstance(fault, NoConnection)
            advice = "check network and address, then" if nobody else "later,"
            kept = f", which goes on from the {reached:,} bytes that are kept" if reached else ""
            line = (
                f"{self._what}: {fault}; given up after {self._count} tries in a row: {advice} "
                f"run the same command again{kept}"
            )
            raise (Unreachable if nobody else RunError)(line) from fault
        pause = max(limits.pause * 2 ** (self._count - 1), fault.wait)
        pause = min(pause, limits.longest_pause)
        log.info("%s: %s; next try in %g s", self._what, fault, pause)
        time.sleep(pause)

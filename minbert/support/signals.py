"""Ctrl-C and SIGTERM as a request that the training loop obeys between two steps.

Python runs a handler between any two lines, also within a finalizer, which swallows what it raises
and prints a traceback. So only the first signal raises, and only where it must; a second one, and
one whose exception was swallowed, end the process at once, as a kill would.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType, TracebackType
from typing import Any, NoReturn

from minbert.support.errors import Stopped

_ECHO = 3.0  # seconds in which a launcher passes on a signal that its processes had as well


class StopRequest:
    """SIGINT and SIGTERM as a request that the training loop can honour at a safe point.

    The first signal sets `asked`, and with it `signum`, which the loop obeys. Where processes
    train together, they `agree` on `signum` whenever they `settle()`. Inside `immediate()` the
    first signal raises Stopped at once. A second one ends the process without another line of
    Python: files and checkpoints under way stay drafts, which the next start removes. Where
    processes agree, the same signal within three seconds counts once: their launcher passes on what
    it gets, and a cluster may send that to all. Outside the main thread no handler can be set:
    signals keep their usual meaning.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self.signum: int | None = None
        self.agree: Callable[[int], int] | None = None  # on the highest of all processes' numbers
        self._immediate = True
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Take over the two signals (main thread only)."""
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._before[signum] = signal.signal(signum, self._handle)
        _catch_lost_stops()

    def end(self) -> None:
        """Let any signal from now on end the process at once: all that matters is done.

        A program that called the command, a notebook for example, gets its own handlers back.
        """
        self.asked = self.asked or signal.SIGTERM
        for signum, handler in self._before.items():
            if handler is not signal.SIG_DFL:
                signal.signal(signum, handler)

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self.asked is not None:
            late = time.monotonic() - self._since > _ECHO
            if self.agree is not None and signum == self.asked and not late:
                return
            _end_at_once(signum)
        self.asked, self._since = signum, time.monotonic()
        if self._immediate:
            raise Stopped(signum)
        if self.agree is None:
            self.signum = signum
        _say("stopping after this step; once more to stop at once")

    def settle(self) -> None:
        """Agree with the other processes, if there are any, whether a signal is to be obeyed."""
        if self.agree is not None:
            self.signum = self.agree(self.asked or 0) or None

    def obey(self) -> None:
        """Raise Stopped if a signal is to be obeyed."""
        if self.signum is not None:
            raise Stopped(self.signum)

    def deferred(self) -> AbstractContextManager[None]:
        """Let a first signal within the block only set `signum`."""
        return self._handling(immediate=False)

    def immediate(self) -> AbstractContextManager[None]:
        """Let a signal within the block raise `Stopped` at once."""
        return self._handling(immediate=True)

    @contextmanager
    def _handling(self, *, immediate: bool) -> Iterator[None]:
        before, self._immediate = self._immediate, immediate
        try:
            yield
        finally:
            self._immediate = before


def _say(line: str) -> None:
    """Write to stderr without Python's stream, which the signal may have come in the midst of."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.write(sys.stderr.fileno(), f"{line}\n".encode())


def _end_at_once(signum: int) -> NoReturn:
    _say(f"stopped at once by {signal.Signals(signum).name}")
    os._exit(128 + signum)


def _catch_lost_stops() -> None:
    """End the process by a Stopped that a finalizer swallowed, or that nothing caught."""
    if getattr(sys.unraisablehook, "__module__", "") == __name__:
        return
    swallowed, uncaught = sys.unraisablehook, sys.excepthook

    def lost(what: "sys.UnraisableHookArgs") -> None:
        if isinstance(what.exc_value, Stopped):
            _end_at_once(what.exc_value.signum)
        swallowed(what)

    def escaped(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Stopped):
            _end_at_once(error.signum)
        uncaught(kind, error, trace)

    sys.unraisablehook, sys.excepthook = lost, escaped

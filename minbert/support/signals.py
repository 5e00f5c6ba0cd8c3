"""Ctrl-C and SIGTERM as a request that the training loop honours between two steps."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from minbert.support.console import log
from minbert.support.errors import Stopped


class StopRequest:
    """Turns SIGINT and SIGTERM into a request the training loop can honour at a safe point.

    The first signal sets `asked`, and `signum`, which is honoured, with it; where that is `shared`
    with other processes, they agree on it. Inside `immediate()` it raises at once, as a second one
    always does. Outside the main thread no handler can be set: signals keep their usual meaning.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self.signum: int | None = None
        self.shared = False
        self._immediate = True

    def install(self) -> None:
        """Take over the two signals (main thread only)."""
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._handle)

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self._immediate or self.asked is not None:
            raise Stopped(signum)
        self.asked = signum
        if not self.shared:
            self.signum = signum
        log.info("stopping after this step; once more to stop at once")

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block a first signal only sets `signum`."""
        before, self._immediate = self._immediate, False
        try:
            yield
        finally:
            self._immediate = before

    @contextlib.contextmanager
    def immediate(self) -> Iterator[None]:
        """Within the block a signal raises `Stopped` at once."""
        before, self._immediate = self._immediate, True
        try:
            yield
        finally:
            self._immediate = before

"""Ctrl-C and SIGTERM as a request that the training loop obeys between two steps."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

from minbert.support.console import log
from minbert.support.errors import Stopped


class StopRequest:
    """SIGINT and SIGTERM as a request that the training loop can honour at a safe point.

    The first signal sets `asked`, and with it `signum`, which the loop obeys. Where processes train
    together, they `agree` on `signum` whenever they `settle()`. Inside `immediate()` a signal
    raises Stopped at once, as a second one always does. Outside the main thread no handler can be
    set: signals keep their usual meaning.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self.signum: int | None = None
        self.agree: Callable[[int], int] | None = None  # on the highest of all processes' numbers
        self._immediate = True

    def install(self) -> None:
        """Take over the two signals (main thread only)."""
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._handle)

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self._immediate or self.asked is not None:
            raise Stopped(signum)
        self.asked = signum
        if self.agree is None:
            self.signum = signum
        log.info("stopping after this step; once more to stop at once")

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

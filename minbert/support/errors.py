"""How a run can end badly; `command.py` turns each of these into an exit code."""

from __future__ import annotations

import signal


class InputError(Exception):
    """Wrong usage or wrong input: one line that says what, where and what to do. Exit code 2."""


class RunError(Exception):
    """The run itself failed, for example on a non-finite loss. Exit code 1."""


class Stopped(BaseException):
    """A signal asked the run to stop; `signum` decides the exit code (128 + signum)."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

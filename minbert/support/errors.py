"""The ways in which a run can fail; `command.py` turns each into an exit code."""

from __future__ import annotations

import signal


class InputError(Exception):
    """Wrong usage or input. The message is one line: what, where, what to do. Exit code 2."""


class RunError(Exception):
    """A failure of the run itself, for example on a non-finite loss. Exit code 1."""


class Stopped(BaseException):
    """A stop that a signal asked for. Exit code 128 + `signum`."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    def __reduce__(self) -> tuple[type[Stopped], tuple[int]]:
        return Stopped, (self.signum,)

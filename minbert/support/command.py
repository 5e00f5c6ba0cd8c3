"""The frame of every command: logging, signals, one line for an error, the exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage or wrong input, 130 and 143 stopped by a signal.
"""

import io
import os
import sys
from collections.abc import Callable

from minbert.support.console import log, set_up_logging
from minbert.support.device import out_of_memory
from minbert.support.errors import InputError, RunError, Stopped
from minbert.support.signals import StopRequest


def show(text: str) -> None:
    """Print results. A reader who has left (`| head`), or a letter he cannot show, is no error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the rest of the output would fail again as Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run_command(
    work: Callable[[StopRequest], object],
    if_stopped: str = "the same command with --resume goes on",
) -> int:
    """Call `work`, which obeys the stop request; return the exit code."""
    set_up_logging()
    stop = StopRequest()
    stop.install()
    try:
        work(stop)
        return 0
    except Stopped as error:
        log.error("stopped by %s; %s", error, if_stopped)
        return 128 + error.signum
    except Exception as error:
        code, line = _explained(error)
        if not line:  # an error in this package, not in its use
            raise
        log.error("error: %s", line)
        return code


def _explained(error: Exception) -> tuple[int, str]:
    """The exit code for an error and its line, empty where only a traceback explains it."""
    if out_of_memory(error):
        said = next(iter(str(error).splitlines()), "none is left")
        return 1, (
            f"out of memory ({said}); lower --batch_size where there is one, close other programs, "
            "or take a machine with more memory"
        )
    if isinstance(error, InputError):
        return 2, str(error)
    return 1, str(error) if isinstance(error, (RunError, OSError)) else ""

"""The frame of every command: logging, signals, one line for an error, the exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage or wrong input, 130 and 143 stopped by a signal.
"""

import io
import os
import sys
from collections.abc import Callable

import torch

from minbert.support.console import log, set_up_logging
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
    except InputError as error:
        log.error("error: %s", error)
        return 2
    except torch.OutOfMemoryError as error:
        first_line = str(error).splitlines()[0]
        log.error(
            "error: out of device memory (%s); lower --batch_size or, where there is one, "
            "--micro_batch_size",
            first_line,
        )
    except (RunError, OSError) as error:
        log.error("error: %s", error)
    except Stopped as error:
        log.error("stopped by %s; %s", error, if_stopped)
        return 128 + error.signum
    return 1

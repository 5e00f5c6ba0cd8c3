"""What every command does around its work: logging, signals, one line an error, the exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage or wrong input, 130 and 143 stopped by a signal.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from minbert.runtime import InputError, RunError, Stopped, StopRequest, log, set_up_logging


def run_command(
    work: Callable[[StopRequest], object],
    if_stopped: str = "the same command with --resume goes on",
) -> int:
    """Call `work`, which may stop where the request says so; returns the exit code."""
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
        log.error("error: out of device memory (%s); lower --batch_size", first_line)
    except (RunError, OSError) as error:
        log.error("error: %s", error)
    except Stopped as error:
        log.error("stopped by %s; %s", error, if_stopped)
        return 128 + error.signum
    return 1

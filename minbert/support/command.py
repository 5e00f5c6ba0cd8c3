"""The frame of every command: logging, signals, one line for an error, the exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage or wrong input, 130 and 143 stopped by a signal.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from minbert.support.console import log, printable, set_up_logging
from minbert.support.device import out_of_memory
from minbert.support.errors import InputError, RunError, Stopped
from minbert.support.signals import StopRequest


def show(text: str, end: str = "\n") -> None:
    """Print results. What cannot be printed is no reason to lose what was computed.

    A reader who has left (`| head`), or a letter that he cannot show, is no error. A full disk is
    named on stderr.
    """
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        print(printable(text), end=end, flush=True)
    except BrokenPipeError:
        _lead_nowhere(sys.stdout)
    except (OSError, ValueError) as error:
        log.error("stdout: cannot be written (%s): nothing more is printed", error)
        _lead_nowhere(sys.stdout)


def run_command(
    work: Callable[[StopRequest], object],
    if_stopped: str = "the same command with --resume goes on",
) -> int:
    """Call `work`, which obeys the stop request; return the exit code."""
    _open_closed_streams()
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
            log.error("error: %r, which is a fault of minbert; its traceback follows", error)
            raise
        log.error("error: %s", line)
        return code
    finally:
        stop.end()
        _flush_streams()


def _open_closed_streams() -> None:
    """Lead streams that were closed before Python began nowhere.

    Otherwise the next file that is opened gets their number, and with it what libraries print.
    """
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def _flush_streams() -> None:
    """Flush what can be: Python would end with exit code 120 where it fails to."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _lead_nowhere(stream)


def _lead_nowhere(stream: TextIO) -> None:
    """Send what is left in a stream's buffer, and all that follows, nowhere."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _explained(error: Exception) -> tuple[int, str]:
    """The exit code for an error and its line, empty where only a traceback explains it."""
    if out_of_memory(error):
        said = next(iter(str(error).splitlines()), "none is left")
        return 1, (
            f"out of memory ({said}); lower --batch_size or, where there is one, "
            "--micro_batch_size; close other programs, or take a machine with more memory"
        )
    if isinstance(error, InputError):
        return 2, str(error)
    # what is not implemented says so: an assignment's function, or torch on some device
    told = isinstance(error, (RunError, OSError, NotImplementedError))
    return 1, str(error) if told else ""

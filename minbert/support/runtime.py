"""What every floor may need from the machine: errors, seeds, device, precision, progress.

Randomness. Nothing in this package draws from an ambient generator. Every draw takes a 32-bit seed
hashed from the run's seed, the draw's purpose and its position (`derive_seed`), so a run resumed at
step k is the run that never stopped, with no random state to save.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import math
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from types import FrameType

import torch
from torch import Tensor
from tqdm import tqdm

log = logging.getLogger("minbert")


class InputError(Exception):
    """Wrong usage or wrong input: one line that says what, where and what to do. Exit code 2."""


class RunError(Exception):
    """The run itself failed, for example on a non-finite loss. Exit code 1."""


class Stopped(BaseException):
    """A signal asked the run to stop; `signum` decides the exit code (128 + signum)."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


# ---------------------------------------------------------------------------------- randomness


def derive_seed(seed: int, purpose: str, *position: int | str) -> int:
    """A 32-bit seed for one draw, by SHA-256 of (seed, purpose, position).

    32 bits because torch's CPU generator ignores the rest.
    """
    text = "\x1f".join(str(part) for part in (seed, purpose, *position))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator on `device`, for draws that accept one."""
    return torch.Generator(device=device).manual_seed(seed)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Run a block with torch's default generators seeded, then put their states back.

    Dropout takes the default generator and no other, so reseeding it is what makes a forward
    pass's masks replayable.
    """
    cpu_state = torch.get_rng_state()
    cuda_state = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(cpu_state)
        if cuda_state is not None:
            torch.cuda.set_rng_state(cuda_state, device)


# ------------------------------------------------------------------------- device and precision


def pick_device(name: str = "auto", *, require_gpu: bool = False) -> torch.device:
    """The device to run on: `auto` takes cuda, then mps, then cpu.

    Raises InputError where the named device, or any GPU with `require_gpu`, is absent.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, there in present.items() if there)
    if not present[name]:
        raise InputError(f"--device {name}: torch {torch.__version__} sees no such device here")
    if require_gpu and name == "cpu":
        raise InputError(
            f"--use_gpu: torch {torch.__version__} sees no GPU here; "
            "leave the flag out to run on the CPU, or install a GPU build of torch"
        )
    torch.set_float32_matmul_precision("highest")  # no TF32: it would drown an ε-sized effect
    return torch.device(name)


def pick_autocast(precision: str, device: torch.device) -> torch.dtype | None:
    """The autocast dtype of the training pass, None for plain fp32.

    `auto` is bf16 on CUDA hardware that has it, fp32 elsewhere. CPUs with avx512_bf16 or AMX are
    faster in bf16 too (docs/performance.md), those without are slower; there it is to be asked for,
    so that the same command finds the same scores on every laptop.
    """
    if precision == "auto":
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16" if native else "fp32"
    return torch.bfloat16 if precision == "bf16" else None


def at_least_fp32(x: Tensor) -> Tensor:
    """fp16 and bf16 go up to fp32; fp32 and fp64 stay. A bare `.float()` would downcast fp64."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def release_memory() -> None:
    """Give freed memory back to the system, where the C library can (glibc).

    Batches of ever other shapes leave its heap full of holes: without this, training a 23 million
    parameter encoder on a CPU grows from 2 to 5 GB.
    """
    with contextlib.suppress(OSError, AttributeError):  # no such library, no such function
        ctypes.CDLL("libc.so.6").malloc_trim(0)


# ------------------------------------------------------------------------- logs, bars, signals


class _BarFriendlyHandler(logging.Handler):
    """Writes log lines above a live progress bar instead of through it.

    Control characters, which a file's or flag's text may bring along, are spelled out.
    """

    def emit(self, record: logging.LogRecord) -> None:
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in self.format(record))
        tqdm.write(line, file=sys.stderr)


def set_up_logging() -> None:
    """Plain lines on stderr, no colour (so there is nothing for NO_COLOR to switch off)."""
    handler = _BarFriendlyHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


class ProgressBar:
    """A tqdm bar on a terminal; elsewhere a plain line every `every` seconds. Time left in both.

    `total` may be unknown. The unit "B", for bytes, is shown in thousands, millions, ...
    """

    def __init__(
        self, total: int | None, title: str, unit: str, *, done: int = 0, every: float = 30.0
    ) -> None:
        self.total, self.title, self.unit, self.done = total, title, unit, done
        self._first, self._began, self._spoke, self._every = done, time.monotonic(), 0.0, every
        on_terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            desc=title,
            unit=unit,
            unit_scale=unit == "B",
            initial=done,
            leave=False,
            disable=not on_terminal,
        )
        self._plain = not on_terminal

    def update(self, count: int, shown: Mapping[str, str] | None = None) -> None:
        """Move on by `count`; `shown` appears behind the bar, for example `{"loss": "0.693"}`."""
        self.done += count
        shown = shown or {}
        if self._plain:
            self._speak(shown)
        else:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(count)

    def _speak(self, shown: Mapping[str, str]) -> None:
        elapsed = time.monotonic() - self._began
        if self.done == self._first or elapsed - self._spoke < self._every:
            return
        self._spoke = elapsed
        extras = "".join(f", {name} {value}" for name, value in shown.items())
        so_far, left = self._amount(self.done), ""
        if self.total is not None:
            seconds = elapsed / (self.done - self._first) * (self.total - self.done)
            so_far, left = f"{so_far}/{self._amount(self.total)}", f", {clock(seconds)} left"
        unit = "MB" if self.unit == "B" else self.unit
        log.info("%s: %s %s%s%s", self.title, so_far, unit, left, extras)

    def _amount(self, count: int) -> str:
        return f"{count / 1e6:.1f}" if self.unit == "B" else str(count)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.close()


def clock(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss."""
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


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

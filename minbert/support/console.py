"""Log lines and progress bars, on stderr: what a person sees while a command runs."""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import time
from collections.abc import Mapping, Sequence

from tqdm import tqdm

log = logging.getLogger("minbert")


def printable(text: str) -> str:
    """The text with control characters spelled out, and bytes that are no text; line ends stay."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


class _BarFriendlyHandler(logging.Handler):
    """A handler that writes log lines above a live progress bar instead of through it.

    It spells out control characters, which the text of a file or flag may contain. A stderr that
    is full or gone costs the line, and not the run.
    """

    def emit(self, record: logging.LogRecord) -> None:
        line = printable(self.format(record)).replace("\n", r"\n")
        with contextlib.suppress(OSError, ValueError):
            # with its end at once: ranks write there together
            tqdm.write(line + "\n", file=sys.stderr, end="")


def set_up_logging() -> None:
    """Log plain lines to stderr, without colour (so NO_COLOR has nothing to switch off)."""
    handler = _BarFriendlyHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


_COLUMNS = 80  # of a terminal that does not tell its width
_NARROWEST = 6  # columns that a bar gives up, of its ten, for the figures behind it
_HEAD = "{l_bar}{bar}| {n_fmt}/{total_fmt}"


class ProgressBar:
    """A tqdm bar on a terminal, elsewhere a plain line every `every` seconds, with the time left.

    `total` may be unknown. The unit "B", for bytes, is shown in thousands, millions, ... The time
    left is taken from the pace so far or, with `estimated`, from the caller.
    """

    def __init__(
        self,
        total: int | None,
        title: str,
        unit: str,
        *,
        done: int = 0,
        every: float = 30.0,
        estimated: bool = False,
    ) -> None:
        self.total, self.title, self.unit, self.done = total, title, unit, done
        self._estimated = estimated
        self._first, self._began, self._spoke, self._every = done, time.monotonic(), 0.0, every
        self._plain = not (sys.stderr.isatty() and log.isEnabledFor(logging.INFO))
        self._bar = tqdm(
            total=total,
            desc=title,
            unit=unit,
            unit_scale=unit == "B",
            initial=done,
            leave=False,
            disable=self._plain,
            bar_format=None if total is None else self._format(),
        )
        if not self._plain:
            self._bar.ncols = self._bar.ncols or _COLUMNS

    def _format(self) -> str:
        return _HEAD + ("{postfix}" if self._estimated else ", {remaining} left{postfix}")

    def update(
        self, count: int, shown: Mapping[str, str] | None = None, left: float | None = None
    ) -> None:
        """Move on by `count`; `shown`, for example `{"loss": "0.693"}`, appears behind the bar.

        `left` is the caller's estimate of the seconds left.
        """
        self.done += count
        shown = shown or {}
        if self._plain:
            self._speak(shown, left)
        else:
            words = [] if left is None else [f"{clock(left)} left"]
            words += [f"{name}={value}" for name, value in shown.items()]
            self._bar.set_postfix_str(self._fitting(words), refresh=False)
            self._bar.update(count)

    def _fitting(self, words: Sequence[str]) -> str:
        """As many of the words as have room behind the bar, the first ones first."""
        bare = self._bar.format_meter(**{**self._bar.format_dict, "postfix": None, "ncols": None})
        room, kept = self._bar.ncols - len(bare) + _NARROWEST, []
        for word in words:
            if len(word) + 2 <= room:
                kept.append(word)
                room -= len(word) + 2
        return ", ".join(kept)

    def _speak(self, shown: Mapping[str, str], left: float | None) -> None:
        elapsed = time.monotonic() - self._began
        waiting = left is None and self.done == self._first
        if waiting or elapsed - self._spoke < self._every:
            return
        self._spoke = elapsed
        extras = "".join(f", {name} {value}" for name, value in shown.items())
        so_far, rest = self._amount(self.done), ""
        if self.total is not None:
            if left is None:
                left = elapsed / (self.done - self._first) * (self.total - self.done)
            so_far, rest = f"{so_far}/{self._amount(self.total)}", f", {clock(left)} left"
        unit = "MB" if self.unit == "B" else self.unit
        log.info("%s: %s %s%s%s", self.title, so_far, unit, rest, extras)

    def _amount(self, count: int) -> str:
        return f"{count / 1e6:.1f}" if self.unit == "B" else str(count)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.close()


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss, rounded up."""
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"

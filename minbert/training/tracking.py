"""A run's log that a tracker follows (`--track`).

The log is the truth: a tracker is filled from it anew whenever the run begins or goes on, and then
gets each line as it is written. So a resumed run goes on in the same curves, no step is there
twice, and a kill between a checkpoint and the log leaves no trace, because the log has been cut
back to the checkpoint by then.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from minbert.support.console import log
from minbert.support.durable_files import JsonLines
from minbert.support.errors import RunError
from minbert.training.trackers import TRACKERS, Tracker

_OF_THE_STEP = ("lr", "grad_norm", "tokens_per_s")  # alike in all lines of a step
_NO_CURVES = ("step", "task", *_OF_THE_STEP)


class TrackedLines:
    """The lines of a log, which go to a tracker as well, with the dev scores of `history`.

    A tracker that fails costs its curves and one warning, never the run.
    """

    def __init__(
        self, lines: JsonLines, tracker: Tracker, history: Sequence[Mapping[str, Any]]
    ) -> None:
        self._lines, self._tracker, self._history = lines, tracker, history
        self._shown, self._works = 0, True
        with lines.path.open(encoding="utf-8") as stream:
            self._send(map(json.loads, stream))

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append rows to the log, and only then to the curves."""
        self._lines.write(rows)
        self._send(rows)

    def sync(self) -> None:
        """Bring the log's rows to disk."""
        self._lines.sync()

    def close(self) -> None:
        """Show the last scores; close log and tracker."""
        self._lines.close()
        self._send([])
        self._try(self._tracker.close)

    def _send(self, rows: Iterable[dict[str, Any]]) -> None:
        def send() -> None:
            for step, values in self._points(rows):
                self._tracker.add(step, values)

        self._try(send)

    def _points(self, rows: Iterable[dict[str, Any]]) -> Iterator[tuple[int, dict[str, float]]]:
        """Steps and values: each scoring before the steps that came after it."""
        for step, of_step in groupby(rows, key=lambda row: row["step"]):
            yield from self._scores(step)
            yield step, {name: value for row in of_step for name, value in _curves(row)}
        yield from self._scores(None)

    def _scores(self, step: int | None) -> Iterator[tuple[int, dict[str, float]]]:
        """The scorings not yet shown, up to `step`, or all."""
        for row in self._history[self._shown :]:
            if step is not None and row["step"] > step:
                return
            self._shown += 1
            scores = {f"dev/{name}": score for name, score in row["scores"].items()}
            yield row["step"], {**scores, "dev/criterion": row["criterion"]}

    def _try(self, work: Any) -> None:
        if not self._works:
            return
        try:
            work()
        except Exception as error:  # whatever another package raises, the run is worth more
            self._works = False
            log.warning("--track: no more curves from here (%r); --resume would fill them", error)


def _curves(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """A log line's values by the names of their curves."""
    for name, value in row.items():
        if name in _OF_THE_STEP:
            yield f"train/{name}", value
        elif name not in _NO_CURVES:
            yield f"train/{row['task']}/{name}", value


def followed(
    lines: JsonLines,
    track: str | None,
    folder: Path,
    settings: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> JsonLines | TrackedLines:
    """The log as the tracker named `track` follows it, or as it is for None. Raises RunError."""
    if track is None:
        return lines
    try:
        tracker = TRACKERS[track](folder, settings)
    except Exception as error:  # before the first step: the user can mend it at once
        raise RunError(f"--track {track}: cannot begin ({error!r})") from error
    log.info("to watch: %s", tracker.watch)
    return TrackedLines(lines, tracker, history)

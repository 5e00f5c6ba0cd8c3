"""Marks whole submissions, several at a time, each by a marker with a sandbox of its own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from minbert.classroom.marking.marks import Key, Marker, StepMark
from minbert.classroom.marking.predictions import Predictions, predictions_of
from minbert.classroom.marking.results import results
from minbert.classroom.marking.sandbox import Limits, Sandbox
from minbert.classroom.marking.submission import handed_in
from minbert.classroom.marking.tree import libraries, make_base
from minbert.classroom.steps import Step
from minbert.grade.gold import Gold
from minbert.grade.submission import Source
from minbert.support.console import log


@dataclass(frozen=True)
class Marked:
    """A submission's marks."""

    name: str
    steps: Sequence[StepMark]
    predictions: Predictions
    notes: Sequence[str]
    seconds: float

    @property
    def points(self) -> float:
        """The sum over the steps."""
        return round(sum(mark.points for mark in self.steps), 2)

    def results(self, visibility: str) -> dict[str, Any]:
        """The form of results.json."""
        return results(self.steps, self.predictions, self.notes, self.seconds, visibility)


class Desk:
    """What marks submissions by one key."""

    def __init__(self, markers: Sequence[Marker], gold: Gold) -> None:
        self._gold, self._count = gold, len(markers)
        self._free: SimpleQueue[Marker] = SimpleQueue()
        for marker in markers:
            self._free.put(marker)

    def mark(self, source: Source) -> Marked:
        """Mark one submission. Never raises over what is in it."""
        marker, began = self._free.get(), time.monotonic()
        try:
            found = handed_in(source, marker.steps)
            marks = marker.marks(found)
        finally:
            self._free.put(marker)
        predictions = predictions_of(source, self._gold)
        return Marked(source.name, marks, predictions, found.notes, time.monotonic() - began)

    def mark_all(self, sources: Sequence[Source]) -> Iterator[Marked]:
        """Mark them several at a time; each comes when it is done."""
        with ThreadPoolExecutor(self._count) as pool:
            waiting = [pool.submit(self.mark, source) for source in sources]
            try:
                for done in as_completed(waiting):
                    yield done.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def opened(
    key: Key, gold: Gold, steps: Sequence[Step], limits: Limits, places: int = 1
) -> Iterator[Desk]:
    """Give a desk of so many places, and warn of what is not enforced on this machine."""
    with ExitStack() as open_:
        base = Path(open_.enter_context(tempfile.TemporaryDirectory(prefix="minbert-"))) / "base"
        make_base(base, steps)
        loaded = libraries()
        boxes = [open_.enter_context(Sandbox(limits, loaded, slot)) for slot in range(places)]
        if lacking := boxes[0].not_enforced():
            log.warning("%s", lacking)
        markers = [Marker(box, base, key, steps) for box in boxes]
        markers[0].check()
        yield Desk(markers, gold)

"""Encoders of links on disk: kept until links and features that need them are done."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from minbert.experiments.grid.cells import RESULT, RUN
from minbert.experiments.probe.link import EARLIER
from minbert.experiments.probe.steps import ENCODER, LINK, Step
from minbert.support.claims import is_free
from minbert.support.console import log

_GONE = ".removed"


def drop(steps: Sequence[Step], out: Path) -> None:
    """Remove the encoders that nothing of the plan needs any more.

    An encoder is renamed before it is removed, so that nobody reads a half of it.
    """
    for step in steps:
        if step.kind != LINK:
            continue
        folder = step.folder(out)
        gone = folder / _GONE
        if gone.exists():
            shutil.rmtree(gone, ignore_errors=True)
        if (folder / ENCODER).exists() and not _users(step, steps, out) and _is_done(step, out):
            (folder / ENCODER).rename(gone)
            shutil.rmtree(gone, ignore_errors=True)


def revive(steps: Sequence[Step], out: Path) -> None:
    """Let links be trained again whose encoder was removed, and which new steps of a plan need.

    The earlier result stays beside: the new one must come to the same weights.
    """
    for step in reversed(steps):  # children first: they may need their parents too
        folder = step.folder(out)
        if step.kind != LINK or not _is_done(step, out) or (folder / ENCODER).exists():
            continue
        if _users(step, steps, out) and is_free(folder / "claims"):
            log.info("%s: its encoder was removed; the link is trained again", step.name)
            shutil.rmtree(folder / RUN, ignore_errors=True)
            (folder / RESULT).replace(folder / EARLIER)


def _users(step: Step, steps: Sequence[Step], out: Path) -> list[Step]:
    """The steps that build on a link's encoder and are not done."""
    return [other for other in steps if other.parent == step.key and not _is_done(other, out)]


def _is_done(step: Step, out: Path) -> bool:
    return (step.folder(out) / RESULT).exists()

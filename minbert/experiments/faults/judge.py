"""The judge: what a fault has cost, held against the run that nothing went wrong in.

Lost: after the same command with --resume the results differ from the undisturbed run's bytes, or
more than one checkpoint interval was computed again. Silent: exit code 0 with other bytes, or an
end for which no line gives the reason. A traceback is no such line.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minbert.experiments.faults.place import INTERVAL, Prepared, predictions
from minbert.experiments.faults.process import Ended

RESUMED = "ended, then resumed to the same bytes"
REFUSED = "refused in one line, then done to the same bytes"
NAMED = "went on and named it, same bytes"
UNNOTICED = "not noticed: it decides no result"
REPORTED = "went on without the rows or files that it named"
FAILED = "lost or silent"
MISSED = "never happened"


@dataclass(frozen=True)
class Verdict:
    """What became of an injection; `lost` and `silent` say why it counts as such, if it does."""

    outcome: str
    lost: str = ""
    silent: str = ""


@dataclass(frozen=True)
class Expected:
    """How a fault may end a process: signals that may kill it, and words that name the fault.

    With `accepts` the command may go on with what is left, to other results, if it names the fault.
    """

    signals: Sequence[int] = ()
    words: str = ""
    accepts: bool = False


UNKNOWN = Expected()


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """The names of results that differ, are missing, or are too many."""
    names = sorted(found.keys() | expected.keys())
    return [name for name in names if found.get(name) != expected.get(name)]


def why_silent(
    ended: Ended, found: Mapping[str, Any], prepared: Prepared, expected: Expected
) -> str:
    """Why a process's end counts as silent; empty where it does not."""
    if "Traceback (most recent call last)" in ended.said:
        return f"traceback: {ended.said.strip().splitlines()[-1]}"
    named = bool(re.search(expected.words, ended.said, re.IGNORECASE)) if expected.words else False
    if ended.code == 0:
        changed = differences(found, prepared.calm)
        return (
            f"exit code 0, and {changed[0]} differs"
            if changed and not (named and expected.accepts)
            else ""
        )
    if mixed(predictions(found), prepared):
        return "prediction files of two runs stand side by side"
    if -ended.code in expected.signals or named:
        return ""
    if ended.code in (128 + signal.SIGINT, 128 + signal.SIGTERM) and "stopped" in ended.said:
        return ""
    last = (ended.said.strip().splitlines() or ["nothing was printed"])[-1]
    return f"exit code {ended.code}, and no line names the fault: {last}"


def mixed(files: Mapping[str, bytes], prepared: Prepared) -> bool:
    """Whether prediction files are not all of one run."""
    runs = (prepared.earlier, predictions(prepared.calm))
    return not any(files.items() <= run.items() for run in runs)


def why_lost(ended: Ended, found: Mapping[str, Any], prepared: Prepared, steps_again: int) -> str:
    """Why the run that goes on counts as lost; empty where it does not."""
    if ended.code != 0:
        last = (ended.said.strip().splitlines() or ["nothing was printed"])[-1]
        return f"--resume ended with exit code {ended.code}: {last}"
    if changed := differences(found, prepared.calm):
        return f"after --resume {', '.join(changed[:3])} differ"
    if steps_again > INTERVAL:
        return f"{steps_again} steps were computed again"
    return ""


def verdict(first: Ended, silent: str, lost: str, expected: Expected, *, same: bool) -> Verdict:
    """The verdict of an injection; `same` says whether the first process left the right bytes."""
    if silent or lost:
        return Verdict(FAILED, lost, silent)
    named = bool(expected.words and re.search(expected.words, first.said, re.IGNORECASE))
    if first.code == 0 and same:
        return Verdict(NAMED if named else UNNOTICED)
    if first.code == 0:
        return Verdict(REPORTED)
    return Verdict(REFUSED if first.code == 2 else RESUMED)

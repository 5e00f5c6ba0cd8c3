"""How an injection is played: a place, a process with the fault in it, the command again."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from minbert.experiments.faults import grids
from minbert.experiments.faults.injection import Injection
from minbert.experiments.faults.judge import (
    FAILED,
    MISSED,
    NAMED,
    RESUMED,
    UNNOTICED,
    Verdict,
    differences,
    mixed,
    verdict,
    why_lost,
    why_silent,
)
from minbert.experiments.faults.place import (
    FRESH,
    INTERVAL,
    STEPS,
    STOPPED,
    Prepared,
    Site,
    predictions,
    results,
    resuming,
    steps_made,
)
from minbert.experiments.faults.process import HIT, Ended
from minbert.experiments.faults.tamper import damage

Play = Callable[[Site, Prepared, Injection, Path], Verdict]


def play(site: Site, prepared: Prepared, injection: Injection) -> Verdict:
    """Play an injection in a place of its own, which is removed unless something was lost."""
    place = site.copy(injection.template, "at-work")
    found = PLAYS[injection.play](site, prepared, injection, place)
    if found.outcome == FAILED:
        kept = site.out / "failed" / injection.key
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(place.parent, kept)
    else:
        site.clear(place)
    return found


def _alone(site: Site, prepared: Prepared, injection: Injection, place: Path) -> Verdict:
    """One process with the fault, then the same command with --resume."""
    before, undo = steps_made(place), lambda: None
    if (damaged := injection.damage) is not None:
        target = place / damaged.path
        undo = damage(target, damaged.how, damaged.details, place.parent / "attic")
    more = tuple(resuming(injection.template))
    first = site.run(place, *more, fault=injection.fault, plain=injection.plain)
    if injection.damage is None and not (place.parent / HIT).read_text():
        return Verdict(MISSED)
    left = results(place)
    silent = why_silent(first, left, prepared, injection.expected)
    if injection.put_back:
        undo()
    _bring_back(place)
    return _gone_on(site, prepared, injection, place, _First(first, left, silent, before))


class _First:
    """What the process with the fault left."""

    def __init__(self, ended: Ended, left: Mapping[str, object], silent: str, before: int) -> None:
        self.ended, self.left, self.silent, self.before = ended, left, silent, before


def _gone_on(
    site: Site, prepared: Prepared, injection: Injection, place: Path, first: _First
) -> Verdict:
    """The verdict after the same command once more."""
    is_same = not differences(first.left, prepared.calm)
    anew = injection.put_back and first.ended.code == 0  # done with other files: another run
    again = site.run(place, *([] if anew else ["--resume"]))
    stopped_at = 0 if injection.template == FRESH else int(injection.template.removeprefix(STOPPED))
    steps_again = 0 if anew else steps_made(place) - first.before - (STEPS - stopped_at)
    lost = why_lost(again, results(place), prepared, steps_again)
    return verdict(first.ended, first.silent, lost, injection.expected, same=is_same)


def _bring_back(place: Path) -> None:
    """Put folders that vanished into their places; what was written there meanwhile is hidden."""
    for away in place.parent.glob("*.away"):
        home = place / away.stem
        if home.exists():
            home.rename(place.parent / f"{home.name}.meanwhile")
        away.rename(home)


def _signal_from_outside(
    site: Site, prepared: Prepared, injection: Injection, place: Path
) -> Verdict:
    """A signal some time after a new interpreter has started, so also while it loads."""
    process = site.start(place, plain=True)
    time.sleep(injection.delay)
    os.kill(process.pid, injection.fault.details["number"])
    first, left = process.ended(), results(place)
    silent = why_silent(first, left, prepared, injection.expected)
    return _gone_on(site, prepared, injection, place, _First(first, left, silent, 0))


def _two_runs(site: Site, prepared: Prepared, injection: Injection, place: Path) -> Verdict:
    """Two processes at once; one of them wins, the other says so or comes after it."""
    one = site.start(place, fault=injection.fault)
    time.sleep(injection.delay)
    other = site.start(place, fault=injection.second, printed="other.txt")
    ends = (one.ended(), other.ended())
    left = results(place)
    silent = [_why_silent_beside(ended, injection) for ended in ends]
    if mixed(predictions(left), prepared):
        silent.append("prediction files of two runs stand side by side")
    before = steps_made(place)
    again = site.run(place, "--resume")
    left_to_do = STEPS - len(left.get("log", ()))
    lost = why_lost(again, results(place), prepared, steps_made(place) - before - left_to_do)
    if lost or any(silent):
        return Verdict(FAILED, lost, next(filter(None, silent), ""))
    return Verdict(RESUMED if any(ended.code for ended in ends) else UNNOTICED)


def _why_silent_beside(ended: Ended, injection: Injection) -> str:
    if "Traceback (most recent call last)" in ended.said:
        return f"traceback: {ended.said.strip().splitlines()[-1]}"
    if ended.code == 0 or -ended.code in injection.expected.signals:
        return ""
    named = injection.expected.words in ended.said
    return "" if named else f"exit code {ended.code}: {ended.said.strip()[-200:]}"


def _grid(site: Site, _prepared: Prepared, injection: Injection, place: Path) -> Verdict:
    """A grid whose runner or cell is killed, then the same command."""
    first = site.run_grid(place, injection.fault)
    if not (place.parent / HIT).read_text():
        return Verdict(MISSED)
    again = site.run_grid(place)
    expected, steps = site.grid
    silent, lost = "", ""
    if "Traceback" in first.said or (first.code > 0 and "killed by SIGKILL" not in first.said):
        silent = f"exit code {first.code}: {first.said.strip()[-200:]}"
    if again.code != 0:
        lost = f"the same command ended with exit code {again.code}: {again.said.strip()[-200:]}"
    elif changed := differences(grids.results(place), expected):
        lost = f"the results of {', '.join(changed)} differ"
    elif (more := steps_made(place) - steps) > INTERVAL:
        lost = f"{more} steps were computed again"
    if lost or silent:
        return Verdict(FAILED, lost, silent)
    return Verdict(NAMED if first.code == 0 else RESUMED)


PLAYS: Mapping[str, Play] = {
    "alone": _alone,
    "signal from outside": _signal_from_outside,
    "two runs": _two_runs,
    "grid": _grid,
}

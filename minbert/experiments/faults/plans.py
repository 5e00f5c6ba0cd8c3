"""Which injections there are, class by class, drawn by one seed from what a run does."""

from __future__ import annotations

import errno
import itertools
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any

from minbert.experiments.faults import hostile
from minbert.experiments.faults.injection import Damage, Injection
from minbert.experiments.faults.judge import Expected
from minbert.experiments.faults.operations import CHANGING, EVERY, SEEING, SPACE
from minbert.experiments.faults.place import FRESH, STEPS, STOPPED, STOPS
from minbert.experiments.faults.spoils import SPOILS
from minbert.experiments.faults.strikes import Fault
from minbert.experiments.faults.unsynced import MODES

ALL = (*SEEING, *CHANGING)
_HALFWAY = f"{STOPPED}{STOPS[3]}"
_SIGNALS = (int(signal.SIGINT), int(signal.SIGTERM))


@dataclass(frozen=True)
class Sources:
    """What injections are drawn from: seeded draws, and the operations and files of places."""

    draw: Random
    operations: Callable[[str, Sequence[str]], Sequence[str]]  # of a template, of these kinds
    home: Callable[[str], Path]  # of a template

    def moments(self, count: int, kinds: Sequence[str]) -> Iterator[tuple[str, int, str]]:
        """Distinct operations of a fresh run and of one that goes on: template, number, words."""
        every = [
            (template, number, words)
            for template in (FRESH, _HALFWAY)
            for number, words in enumerate(self.operations(template, kinds), start=1)
        ]
        chosen = self.draw.sample(every, min(count, len(every)))
        yield from (*chosen, *self.draw.choices(every, k=count - len(chosen)))

    def held(self, template: str) -> tuple[int, str]:
        """The first operation after the run has locked its folder; before, it may be a new one."""
        every = enumerate(self.operations(template, ALL), start=1)
        next(words for _, words in every if words.startswith("lock"))
        return next(every)


@dataclass(frozen=True)
class FaultClass:
    """A class of faults: how many injections in a whole run and in a quick one, and which."""

    name: str
    count: int
    quick: int
    plan: Callable[[Sources, int], Iterator[Injection]]


def _at_operations(
    sources: Sources, count: int, kinds: Sequence[str], make: Callable[[], tuple[str, Fault]]
) -> Iterator[Injection]:
    """Injections at distinct operations; every 25th in a new interpreter."""
    for place, (template, number, words) in enumerate(sources.moments(count, kinds)):
        name, fault = make()
        fault = replace(fault, operation=number, only=kinds)
        title = f"{name} at {template} operation {number}: {words}"
        yield Injection("", title, template, fault, plain=place % 25 == 12)


def _kills(sources: Sources, count: int) -> Iterator[Injection]:
    def make() -> tuple[str, Fault]:
        how = sources.draw.choice(("before", "midst", "after"))
        return f"SIGKILL {how}", Fault("kill", details={"how": how})

    expected = Expected(signals=(signal.SIGKILL,))
    for each in _at_operations(sources, count, ALL, make):
        yield replace(each, group="SIGKILL at a file operation", expected=expected)


def _power_cuts(sources: Sources, count: int) -> Iterator[Injection]:
    def make() -> tuple[str, Fault]:
        mode, how = sources.draw.choice(MODES), sources.draw.choice(("before", "after"))
        details = {"mode": mode, "how": how, "seed": sources.draw.randrange(2**31)}
        return f"power cut ({mode}) {how}", Fault("power cut", details=details)

    expected = Expected(signals=(signal.SIGKILL,))
    for each in _at_operations(sources, count, (*SPACE, "remove", "rmdir"), make):
        yield replace(each, group="power cut at a file operation", expected=expected)


def _errors(number: int, kinds: Sequence[str], sources: Sources, count: int) -> Iterator[Injection]:
    def make() -> tuple[str, Fault]:
        lasting = sources.draw.random() < 0.5
        title = f"{errno.errorcode[number]}{' from then on' if lasting else ''}"
        return title, Fault("error", lasting=lasting, details={"errno": number})

    group = f"{errno.errorcode[number]} at a file operation"
    expected = Expected(words=os.strerror(number))
    for each in _at_operations(sources, count, kinds, make):
        yield replace(each, group=group, expected=expected)


def _checkpoints(sources: Sources, count: int) -> Iterator[Injection]:
    damages = list(_checkpoint_damages(sources))
    sources.draw.shuffle(damages)
    expected = Expected(words="damaged|cannot be read|no whole checkpoint")
    for template, damage in islice(cycle(damages), count):
        title = f"{template}: {damage.words}"
        yield Injection(
            "damaged checkpoint files", title, template, damage=damage, expected=expected
        )


def _checkpoint_damages(sources: Sources) -> Iterator[tuple[str, Damage]]:
    for template in (f"{STOPPED}{stop}" for stop in STOPS):
        out = sources.home(template) / "out"
        last = sorted(out.glob("step-*"))[-1]
        for folder in (last, *sorted(out.glob("best-*"))):
            for file in sorted(folder.iterdir()):
                path = str(file.relative_to(out.parent))
                yield from ((template, each) for each in _file_damages(sources.draw, path))
        yield from ((template, each) for each in _folder_damages(out, last))


def _file_damages(draw: Random, path: str) -> Iterator[Damage]:
    yield Damage(path, "flip", {"place": draw.random(), "bit": draw.randrange(8)})
    yield Damage(path, "cut", {"share": draw.choice((0.0, draw.random()))})
    yield Damage(path, "zeros", {"place": draw.random()})
    yield Damage(path, draw.choice(("remove", "folder")))


def _folder_damages(out: Path, last: Path) -> Iterator[Damage]:
    """Files and folders in each other's places; each leaves one whole checkpoint or two."""
    place = str(last.relative_to(out.parent))
    yield Damage(place, "remove")
    yield Damage(f"{place}/model.safetensors", "swap", {"other": "optimizer.safetensors"})
    yield Damage(f"{place}/model.safetensors", "swap", {"other": "objective.safetensors"})
    yield Damage(f"{place}/state.json", "swap", {"other": "manifest.json"})
    if others := sorted(out.glob("step-*"))[:-1]:
        yield Damage(place, "swap", {"other": others[-1].name})
        for name in ("model.safetensors", "state.json", "manifest.json"):
            yield Damage(f"{place}/{name}", "copy", {"other": f"../{others[-1].name}/{name}"})


def _signals(sources: Sources, count: int) -> Iterator[Injection]:
    draw, outside = sources.draw, count // 8
    alone, at_steps = (count - outside) // 2, (count - outside) // 4
    expected = Expected(signals=_SIGNALS)
    group = "signals, alone and in bursts"
    for place, (template, number, words) in enumerate(sources.moments(count - outside, ALL)):
        burst = 1 if place < alone else draw.choice((2, 3))
        numbers = [draw.choice(_SIGNALS) for _ in range(burst)]
        details = {"numbers": numbers, "gaps": [draw.uniform(0, 0.05) for _ in numbers[1:]]}
        moment: dict[str, Any] = {"operation": number, "only": ALL}
        where = f"{template} operation {number}: {words}"
        if place % 4 == 0 and at_steps:
            template, moment = FRESH, {"step": draw.randint(1, STEPS)}
            where = f"step {moment['step']}"
        name = f"{' and '.join(signal.Signals(n).name for n in numbers)} at {where}"
        yield Injection(group, name, template, Fault("signals", details=details, **moment),
                        expected=expected)  # fmt: skip
    for _ in range(outside):
        delay, number = draw.uniform(0.05, 6.0), draw.choice(_SIGNALS)
        name = f"{signal.Signals(number).name} {delay:.3f} s after the interpreter started"
        fault = Fault(details={"number": number})
        yield Injection(group, name, FRESH, fault, expected=expected, play="signal from outside",
                        plain=True, delay=delay)  # fmt: skip


def _not_finite(sources: Sources, count: int) -> Iterator[Injection]:
    draw, names = sources.draw, cycle(SPOILS)
    for _ in range(count):
        what, step = next(names), draw.randint(1, STEPS)
        value = draw.choice(("nan", "inf", "-inf"))
        details = {"value": value, "which": draw.randrange(1000), "place": draw.randrange(10**6)}
        name = f"{value} in the {what}, number {details['which']}, at step {step}"
        expected = Expected(words=r"finite|is -?(nan|inf)")
        fault = Fault(what, step=step, details=details)
        yield Injection("numbers that are not finite", name, FRESH, fault, expected=expected)


def _memory(sources: Sources, count: int) -> Iterator[Injection]:
    draw = sources.draw
    for template, number, words in sources.moments(count, ALL):
        megabytes = round(draw.uniform(0, 30), 1)
        name = f"{megabytes} MB more, from {template} operation {number}: {words}"
        fault = Fault("memory", number, only=ALL, details={"megabytes": megabytes})
        expected = Expected(words="memory|alloc")
        yield Injection("memory limits", name, template, fault, expected=expected)


def _folders(sources: Sources, count: int) -> Iterator[Injection]:
    draw, group = sources.draw, "read-only and vanishing folders"
    for place, (template, number, words) in enumerate(sources.moments(count, ALL)):
        if place % 2:
            path = draw.choice(("out", "out", "predictions", "data", "encoder"))
            if path == "out":
                number, words = max((number, words), sources.held(template))
            what, fault = f"{path}/ vanishes", Fault("vanish", details={"path": path})
            expected = Expected(words=f"error: .*({path}|No such file)")
        else:
            code = draw.choice((errno.EROFS, errno.EACCES))
            what, expected = os.strerror(code), Expected(words=os.strerror(code))
            fault = Fault("error", lasting=True, details={"errno": code})
        name = f"{what} at {template} operation {number}: {words}"
        fault = replace(fault, operation=number, only=ALL)
        yield Injection(group, name, template, fault, expected=expected)


def _two_runs(sources: Sources, count: int) -> Iterator[Injection]:
    draw = sources.draw
    codes = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
    for place, (_, number, _words) in enumerate(sources.moments(count, SPACE)):
        first, second, delay = Fault(), Fault(), round(draw.uniform(0, 1.5), 2)
        if place % 3 == 0:
            details = {"errno": draw.choice(codes)}
            first = second = Fault("error", 1, only=("lock",), lasting=True, details=details)
        elif place % 3 == 1:
            first = Fault("kill", number, only=SPACE)
        name = f"{place}: {first.what} {first.operation}; the second after {delay} s"
        expected = Expected(signals=(signal.SIGKILL,), words="another run is using it")
        yield Injection("two runs on one folder", name, FRESH, first, expected=expected,
                        play="two runs", second=second, delay=delay)  # fmt: skip


def _grids(sources: Sources, count: int) -> Iterator[Injection]:
    draw = sources.draw
    for place in range(count):
        who = ("runner", "cell 1", "cell 2")[place % 3]
        most = 250 if who != "runner" else draw.choice((20, 145))  # the report comes at the end
        number = draw.randint(1, most)
        how = draw.choice(("before", "after"))
        fault = Fault("kill", number, only=SPACE, details={"how": how, "who": who})
        name = f"SIGKILL {how} operation {number} of the {who}"
        expected = Expected(signals=(signal.SIGKILL,), words="killed by SIGKILL")
        yield Injection("grid runners killed", name, FRESH, fault, expected=expected, play="grid")


def _inputs(
    group: str, damages: Sequence[Damage], words: str, sources: Sources, count: int
) -> Iterator[Injection]:
    chosen = list(damages)
    sources.draw.shuffle(chosen)
    expected = Expected(words=words, accepts=True)
    for place, damage in enumerate(islice(cycle(chosen), count)):
        template = _HALFWAY if place % 4 == 3 else FRESH
        yield Injection(group, f"{template}: {damage.words}", template, damage=damage,
                        expected=expected, put_back=True)  # fmt: skip


def _encoders(sources: Sources, count: int) -> Iterator[Injection]:
    words = r"error: .*encoder|encoder(/[\w.]+)?: "
    yield from _inputs("hostile encoder folders", hostile.ENCODERS, words, sources, count)


def _data(sources: Sources, count: int) -> Iterator[Injection]:
    words = r"error: .*data|data/[\w.-]+: "
    yield from _inputs("hostile data files", hostile.data(sources.draw), words, sources, count)


CLASSES: Sequence[FaultClass] = (
    FaultClass("kills", 320, 2, _kills),
    FaultClass("power", 100, 2, _power_cuts),
    FaultClass("enospc", 260, 2, partial(_errors, errno.ENOSPC, SPACE)),
    FaultClass("eio", 260, 2, partial(_errors, errno.EIO, EVERY)),
    FaultClass("checkpoints", 100, 2, _checkpoints),
    FaultClass("signals", 100, 1, _signals),
    FaultClass("encoders", 60, 1, _encoders),
    FaultClass("data", 60, 1, _data),
    FaultClass("numbers", 80, 1, _not_finite),
    FaultClass("two-runs", 50, 1, _two_runs),
    FaultClass("folders", 60, 1, _folders),
    FaultClass("grids", 52, 0, _grids),
    FaultClass("memory", 50, 1, _memory),
)


def planned(
    sources: Callable[[str], Sources], *, only: Sequence[str], quick: bool
) -> list[Injection]:
    """Every injection of the classes `only`, or of all, in an order that mixes the classes.

    Each class has draws of its own.
    """
    lists = [
        list(entry.plan(sources(entry.name), entry.quick if quick else entry.count))
        for entry in CLASSES
        if not only or entry.name in only
    ]
    mixed = itertools.chain.from_iterable(itertools.zip_longest(*lists))
    return list({each.key: each for each in mixed if each is not None}.values())

"""The assignment's steps, and the functions whose bodies students write in each (steps.toml).

A hole is one of our functions. The course's name for the same work stands beside it.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from minbert.support.errors import InputError

LEVELS = ("attention", "course", "everything")


@dataclass(frozen=True)
class Hole:
    """A function whose body students write."""

    function: str  # its dotted name
    know: str  # what a student must know to write it
    course: str = ""  # who does this work in the course's starter; empty where nobody does

    @property
    def name(self) -> str:
        """The name by which a message calls it."""
        owner, name = self.function.split(".")[-2:]
        return f"{owner}.{name}" if owner[0].isupper() else name


@dataclass(frozen=True)
class Step:
    """A step of the assignment: what is written together, and checked by one test file."""

    number: int
    name: str  # of its test file and of what is recorded for it
    title: str
    file: str  # where the course has this work
    level: str  # the smallest level that has it
    about: str  # what the step is for, and where to read on
    points: int
    holes: tuple[Hole, ...]

    @property
    def functions(self) -> tuple[str, ...]:
        """The dotted names of its holes."""
        return tuple(hole.function for hole in self.holes)

    def message(self, hole: Hole) -> str:
        """What an empty body says."""
        return f"step {self.number}, {self.title}: {hole.name} is not written yet (README.md)"


def _read() -> tuple[Step, ...]:
    text = (Path(__file__).with_suffix(".toml")).read_text(encoding="utf-8")
    steps = enumerate(tomllib.loads(text)["step"], start=1)
    return tuple(
        Step(number, holes=tuple(Hole(**hole) for hole in entry.pop("hole")), **entry)
        for number, entry in steps
    )


STEPS = _read()


def steps_of(level: str) -> tuple[Step, ...]:
    """The steps of a level. Raises InputError for a level that there is not."""
    if level not in LEVELS:
        raise InputError(f"--holes {level}: not one of {', '.join(LEVELS)}")
    return tuple(step for step in STEPS if LEVELS.index(step.level) <= LEVELS.index(level))

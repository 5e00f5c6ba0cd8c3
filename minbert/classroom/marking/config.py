"""The settings of a marking: what students wrote, what they may use, what they are held to."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from minbert.classroom.marking.sandbox import Limits
from minbert.classroom.starter import SEED
from minbert.classroom.starter_command import StarterConfig
from minbert.classroom.steps import Step, steps_of
from minbert.grade.gold import Gold, read_gold
from minbert.support.device import cores
from minbert.support.errors import InputError
from minbert.support.flags import AT_LEAST_ONE, NOT_NEGATIVE, flag

VISIBILITIES = ("hidden", "after_due_date", "after_published", "visible")
_LIMITS, _MARKS = "what a submission may use", "what it is marked by"


@dataclass(frozen=True)
class MarkingConfig(StarterConfig):
    """What the local marking and the autograder share. Raises InputError for wrong values."""

    gold: str | None = flag(
        None,
        _MARKS,
        "folder of the course's data files, whose dev labels score a submission's prediction "
        "files; default: data/ if they are there, else the bundled synthetic sample",
        metavar="FOLDER",
    )
    seed: int | None = flag(
        None,
        _MARKS,
        "seed of the hidden inputs; another one gives other inputs and the same marks; by default "
        "it is drawn anew",
        metavar="N",
    )
    seconds: int = flag(20, _LIMITS, "time for one step", limit=AT_LEAST_ONE, metavar="SECONDS")
    memory: int = flag(
        1024,
        _LIMITS,
        "memory of a process, beyond what torch and other libraries take",
        limit=AT_LEAST_ONE,
        metavar="MB",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed == SEED:
            raise InputError(f"--seed {SEED}: gives the inputs of the starter's own tests")

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps that were handed out."""
        return steps_of(self.holes)

    @property
    def limits(self) -> Limits:
        """What one step of a submission may use."""
        return Limits(self.seconds, self.memory)

    def answers(self) -> Gold:
        """The dev labels that prediction files are held to. Raises InputError."""
        return read_gold(None if self.gold is None else Path(self.gold), "dev", lint=False)

    def drawn_seed(self) -> int:
        """The seed that was given, or a new one."""
        return secrets.randbits(62) if self.seed is None else self.seed


@dataclass(frozen=True)
class MarkConfig(MarkingConfig):
    """The settings of `mark`."""

    output: str = flag(
        "marks", "where the marks go", "a new folder for the results", metavar="FOLDER"
    )
    workers: int = flag(
        0,
        _LIMITS,
        "submissions that are marked at a time; 0 takes one for each core",
        limit=NOT_NEGATIVE,
        metavar="N",
    )

    @property
    def processes(self) -> int:
        """How many submissions are marked at a time."""
        return self.workers or cores()


@dataclass(frozen=True)
class AutograderConfig(MarkingConfig):
    """The settings of `autograder`."""

    visibility: str = flag(
        "visible", _MARKS, "when students see a step's result", choices=VISIBILITIES
    )

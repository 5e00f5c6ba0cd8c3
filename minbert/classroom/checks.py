"""What the test of a step runs: what is wrong with the student's functions, on recorded inputs."""

from pathlib import Path

from minbert.classroom.exercises.all import EXERCISES
from minbert.classroom.exercises.base import Exercise
from minbert.classroom.judge import problem
from minbert.classroom.outcome import outcome
from minbert.classroom.recorded import Recorded, load


def exercises_of(step: str) -> list[str]:
    """The names of a step's exercises."""
    return [exercise.name for exercise in EXERCISES[step]]


def check(folder: Path, step: str, name: str) -> str | None:
    """Say what is wrong with one exercise of a step; None where all is well.

    `folder` holds what was recorded, a file a step.
    """
    exercise = next(each for each in EXERCISES[step] if each.name == name)
    return verdict(exercise, load(folder / f"{step}.safetensors")[name])


def verdict(exercise: Exercise, record: Recorded) -> str | None:
    """Run an exercise on its recorded inputs and compare."""
    found = outcome(exercise, record.inputs)
    return found if isinstance(found, str) else problem(found, record.expected, record.mistakes)

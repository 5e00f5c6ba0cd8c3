"""What the test of a step runs: what is wrong with the student's functions, on recorded inputs."""

from pathlib import Path

from minbert.classroom.exercises.all import EXERCISES
from minbert.classroom.exercises.base import Exercise
from minbert.classroom.judge import problem
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
    try:
        found = exercise.outputs(record.inputs)
    except NotImplementedError as error:
        return str(error)
    except Exception as error:  # whatever the student's lines raise
        return f"{type(error).__name__}: {error} ({_place(error)})"
    return problem(found, record.expected, record.mistakes)


def _place(error: BaseException) -> str:
    """The last line of the package, exercises apart, that an error went through."""
    place, trace = "no line of yours", error.__traceback__
    while trace is not None:
        code, module = trace.tb_frame.f_code, trace.tb_frame.f_globals.get("__name__", "")
        if module.startswith("minbert.") and not module.startswith("minbert.classroom."):
            place = f"{Path(code.co_filename).name}, line {trace.tb_lineno}, in {code.co_name}"
        trace = trace.tb_next
    return place

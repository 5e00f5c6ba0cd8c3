"""What an exercise ends in: its outputs, or words for the error of a student's lines."""

from pathlib import Path

from minbert.classroom.exercises.base import Exercise
from minbert.classroom.judge import Tensors


def outcome(exercise: Exercise, inputs: Tensors) -> Tensors | str:
    """The outputs of an exercise, or the words for the error in which it ended."""
    try:
        return exercise.outputs(inputs)
    except NotImplementedError as error:
        return str(error)
    except Exception as error:  # whatever the student's lines raise
        return explained(error)


def explained(error: BaseException) -> str:
    """An error of the student's lines, with the last of their lines that it went through."""
    return f"{type(error).__name__}: {error} ({_place(error)})"


def _place(error: BaseException) -> str:
    """The last line of the package, exercises apart, that an error went through."""
    place, trace = "no line of yours", error.__traceback__
    while trace is not None:
        code, module = trace.tb_frame.f_code, trace.tb_frame.f_globals.get("__name__", "")
        if module.startswith("minbert.") and not module.startswith("minbert.classroom."):
            place = f"{Path(code.co_filename).name}, line {trace.tb_lineno}, in {code.co_name}"
        trace = trace.tb_next
    return place

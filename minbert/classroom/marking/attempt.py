"""What runs in a submission's process: a step's exercises on the inputs that it is given."""

from minbert.classroom.marking.wire import Outcome, packed, unpacked_inputs
from minbert.classroom.outcome import explained, outcome


def attempt(step: str, inputs: bytes) -> bytes:
    """The outputs of the step's exercises, or the error of each; of all, if a module has one."""
    given = unpacked_inputs(inputs)
    try:
        from minbert.classroom.exercises.all import EXERCISES  # which imports the student's lines

        exercises = EXERCISES[step]
    except BaseException as error:  # a SystemExit, for example
        return packed({"": explained(error)})
    found: dict[str, Outcome] = {}
    for exercise in exercises:
        try:
            found[exercise.name] = outcome(exercise, given.get(exercise.name, {}))
        except BaseException as error:
            found[exercise.name] = explained(error)
    return packed(found)

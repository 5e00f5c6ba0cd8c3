"""What our solution makes of a step's inputs, and what known mistakes make of them."""

from collections.abc import Iterator

from minbert.classroom.exercises.all import EXERCISES
from minbert.classroom.exercises.base import Exercise
from minbert.classroom.judge import Mistake, Tensors, agree
from minbert.classroom.mistakes import SLIPS, Slip, standing_in
from minbert.classroom.recorded import Recorded
from minbert.classroom.steps import Step
from minbert.support.randomness import derive_seed, generator


def recorded(step: Step, seed: int) -> dict[str, Recorded]:
    """The step's exercises by name, on the inputs of a seed: another seed, other inputs."""
    return {
        exercise.name: _recorded(step.name, exercise, derive_seed(seed, step.name, exercise.name))
        for exercise in EXERCISES[step.name]
    }


def _recorded(step: str, exercise: Exercise, seed: int) -> Recorded:
    inputs = exercise.inputs(generator(seed))
    expected = exercise.outputs(inputs)
    return Recorded(inputs, expected, tuple(_mistakes(step, exercise, inputs, expected)))


def _mistakes(
    step: str, exercise: Exercise, inputs: Tensors, expected: Tensors
) -> Iterator[Mistake]:
    """The mistakes that change this exercise's outputs, with no two that look alike."""
    seen = [expected]
    for slip in SLIPS[step]:
        found = with_slip(slip, exercise, inputs)
        if found is not None and not any(agree(found, other) for other in seen):
            seen.append(found)
            yield Mistake(slip.words, found)


def with_slip(slip: Slip, exercise: Exercise, inputs: Tensors) -> Tensors | None:
    """The outputs under a mistake; None where it ends in an error."""
    with standing_in(slip.function, slip.definition):
        try:
            return exercise.outputs(inputs)
        except (RuntimeError, ValueError, AssertionError, TypeError):
            return None

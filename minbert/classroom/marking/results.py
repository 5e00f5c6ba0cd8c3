"""A submission's marks in the form of Gradescope's results.json."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from minbert.classroom.marking.marks import StepMark
from minbert.classroom.marking.predictions import Predictions


def results(
    marks: Sequence[StepMark],
    predictions: Predictions,
    notes: Iterable[str],
    seconds: float,
    visibility: str,
) -> dict[str, Any]:
    """The results: a test for each step and one for the predictions, and the leaderboard.

    `seconds` is the time that the marking took, `visibility` says when students see the tests. What
    a submission prints is nowhere in them.
    """
    tests = [_step(mark) for mark in marks] + [_predictions(predictions)]
    return {
        "tests": [{**test, "visibility": visibility} for test in tests],
        "leaderboard": [
            {"name": name, "value": round(value, 4), "order": "desc"}
            for name, value in predictions.scores.items()
            if math.isfinite(value)
        ],
        "output": "\n".join(notes),
        "execution_time": round(seconds, 2),
        "stdout_visibility": "hidden",
    }


def _step(mark: StepMark) -> dict[str, Any]:
    step, right = mark.step, mark.exercises - len(mark.wrong)
    said = [f"right: {right} of {mark.exercises}"]
    return {
        "name": f"step {step.number}: {step.title}",
        "number": str(step.number),
        "score": mark.points,
        "max_score": step.points,
        "status": "failed" if mark.wrong else "passed",
        "output": "\n".join(said + [f"- {name}: {words}" for name, words in mark.wrong.items()]),
        "tags": [step.level],
    }


def _predictions(predictions: Predictions) -> dict[str, Any]:
    """The prediction files; they earn no points, but a place on the leaderboard."""
    status = "failed" if predictions.problems else "passed"
    return {
        "name": "prediction files",
        **({"status": status} if predictions.words else {}),  # they need not be handed in
        "output": "\n".join([*predictions.words, *predictions.problems]),
        "tags": ["predictions"],
    }

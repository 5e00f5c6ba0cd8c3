"""results.json: what is written is what Gradescope takes, and the schema refuses what it is not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from minbert.classroom.marking.marks import StepMark
from minbert.classroom.marking.predictions import Predictions
from minbert.classroom.marking.results import results
from minbert.classroom.steps import STEPS
from tests.classroom.results_schema import VISIBILITIES, is_valid

GRADED = Predictions({"sst dev": 0.38, "overall": 0.61}, ["sst: accuracy .380"], [])


def made(visibility: str = "visible", predictions: Predictions = GRADED) -> dict[str, Any]:
    marks = [StepMark(STEPS[0], 3, {"dropout": "a\nb"}), StepMark(STEPS[1], 1)]
    return results(marks, predictions, ["a note"], 1.234, visibility)


@pytest.mark.parametrize("visibility", sorted(VISIBILITIES))
def test_what_is_written_is_valid(visibility: str) -> None:
    for predictions in (
        GRADED,
        Predictions({}, [], ["no prediction file"]),
        Predictions({"sts dev": float("nan")}, ["sts"], ["x"]),
    ):
        found = made(visibility, predictions)
        assert is_valid(found)
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert {test["visibility"] for test in found["tests"]} == {visibility}


def test_points_are_shares_of_a_step_and_say_what_is_lacking() -> None:
    first, second, last = made()["tests"]
    assert (first["score"], first["max_score"], first["status"]) == (10, 15, "failed")
    assert first["output"] == "right: 2 of 3\n- dropout: a\nb"
    assert (second["score"], second["status"]) == (second["max_score"], "passed")
    assert "score" not in last and last["status"] == "passed"
    assert made()["leaderboard"][1] == {"name": "overall", "value": 0.61, "order": "desc"}
    assert made(predictions=Predictions({"sts dev": float("nan")}, [], []))["leaderboard"] == []


Edit = Callable[[dict[str, Any]], Any]
INVALID: dict[str, Edit] = {
    "nothing": lambda r: r.clear(),
    "neither score nor tests": lambda r: r.pop("tests"),
    "tests without any score": lambda r: r.update(tests=[r["tests"][-1]]),
    "a field that is unknown": lambda r: r.update(grade=1),
    "a score of words": lambda r: r.update(score="3"),
    "a score that is true": lambda r: r.update(score=True),
    "a score without end": lambda r: r.update(score=float("inf")),
    "a score that is NaN": lambda r: r["tests"][0].update(score=float("nan")),
    "more than the step's points": lambda r: r["tests"][0].update(score=16),
    "less than nothing": lambda r: r["tests"][0].update(score=-1),
    "points of words": lambda r: r["tests"][0].update(max_score="15"),
    "tests that are no list": lambda r: r.update(tests={}),
    "a test that is no object": lambda r: r["tests"].append("step 3"),
    "a test's unknown field": lambda r: r["tests"][0].update(points=3),
    "a status of its own": lambda r: r["tests"][0].update(status="ok"),
    "a name that is a number": lambda r: r["tests"][0].update(name=1),
    "a number that is none": lambda r: r["tests"][0].update(number=1),
    "an output that is a list": lambda r: r["tests"][0].update(output=["a"]),
    "tags that are no list": lambda r: r["tests"][0].update(tags="attention"),
    "tags that are numbers": lambda r: r["tests"][0].update(tags=[1]),
    "a visibility of its own": lambda r: r["tests"][0].update(visibility="public"),
    "stdout for all the world": lambda r: r.update(stdout_visibility=True),
    "a time of words": lambda r: r.update(execution_time="1 s"),
    "a time below zero": lambda r: r.update(execution_time=-1),
    "a leaderboard that is no list": lambda r: r.update(leaderboard={}),
    "a row without a value": lambda r: r["leaderboard"][0].pop("value"),
    "a row in another order": lambda r: r["leaderboard"][0].update(order="up"),
    "a row that is NaN": lambda r: r["leaderboard"][0].update(value=float("nan")),
}


@pytest.mark.parametrize("edit", INVALID.values(), ids=INVALID)
def test_the_schema_refuses(edit: Edit) -> None:
    value: Any = copy.deepcopy(made())
    assert is_valid(value)
    edit(value)
    assert not is_valid(value)


def test_the_schema_refuses_what_is_no_object() -> None:
    assert not any(map(is_valid, ([made()], None, "results", 3)))

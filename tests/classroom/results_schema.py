"""What Gradescope takes as results.json, as a checker that knows nothing of who writes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

VISIBILITIES = {"hidden", "after_due_date", "after_published", "visible"}
Check = Callable[[Any], bool]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _one_of(values: set[str]) -> Check:
    return lambda value: isinstance(value, str) and value in values


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _object(fields: Mapping[str, Check], needed: set[str] = frozenset()) -> Check:  # type: ignore[assignment]
    return lambda value: (
        isinstance(value, dict)
        and value.keys() <= fields.keys()
        and needed <= value.keys()
        and all(fields[name](own) for name, own in value.items())
    )


_TEST: Mapping[str, Check] = {
    "score": _number,
    "max_score": _number,
    "status": _one_of({"passed", "failed"}),
    "name": _text,
    "number": _text,
    "output": _text,
    "tags": _list_of(_text),
    "visibility": _one_of(VISIBILITIES),
}
_ROW: Mapping[str, Check] = {
    "name": _text,
    "value": lambda value: _number(value) or _text(value),
    "order": _one_of({"asc", "desc"}),
}
_TOP: Mapping[str, Check] = {
    "score": _number,
    "tests": _list_of(_object(_TEST)),
    "execution_time": _number,
    "output": _text,
    "visibility": _one_of(VISIBILITIES),
    "stdout_visibility": _one_of(VISIBILITIES),
    "leaderboard": _list_of(_object(_ROW, {"name", "value"})),
}


def is_valid(value: Any) -> bool:
    """Whether it is results.json: a score or tests, fields that are known, scores within bounds."""
    if not _object(_TOP)(value) or not {"score", "tests"} & value.keys():
        return False
    scored = [test for test in value.get("tests", []) if {"score", "max_score"} <= test.keys()]
    if "score" not in value and not any("score" in test for test in value["tests"]):
        return False
    return value.get("execution_time", 0) >= 0 and all(
        0 <= test["score"] <= test["max_score"] for test in scored
    )

"""A starter's holes with our solution in them, and the flags under which training needs a hole."""

from collections.abc import Mapping
from typing import Any

from minbert.classroom.source import body, replaced
from minbert.classroom.steps import Hole, Step

_TRAINS_WITH: Mapping[str, Mapping[str, Any]] = {  # by step, or by the hole's name
    "divergences": {"smart": True},
    "smart": {"smart": True},
    "r3f": {"r3f": True},
    "RelationalLayer._features": {"rlayer": True},
}


def filled(emptied: bytes, solution: bytes, names: tuple[str, ...]) -> bytes:
    """The file `emptied` with the bodies that `solution` has for `names`."""
    return replaced(emptied, {name: solution[body(solution, name)] for name in names})


def trains_with(step: Step, hole: Hole) -> Mapping[str, Any]:
    """Flags under which the main job calls the hole, beside those of every run."""
    return _TRAINS_WITH.get(hole.name, _TRAINS_WITH.get(step.name, {}))

"""Mistakes that students make in the holes, each as a change of our own lines (mistakes.toml).

What a mistake computes is recorded beside what is right, so that a test can say which one it was.
No file of a starter may hold the table: its lines are those of the solution.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

from minbert.classroom.source import definition_text, module_of, path_of


@dataclass(frozen=True)
class Slip:
    """A wrong version of a hole: `right`, which stands once in our function, became `wrong`."""

    function: str
    right: str
    wrong: str
    words: str  # for whoever made it

    @property
    def definition(self) -> str:
        """The wrong function's text. Raises ValueError where `right` does not stand there once."""
        module, name = module_of(self.function)
        text = definition_text(path_of(module).read_bytes(), name)
        if text.count(self.right) != 1:
            raise ValueError(
                f"{self.function}: {self.right!r} stands there {text.count(self.right)}x"
            )
        return text.replace(self.right, self.wrong)


def _read() -> dict[str, tuple[Slip, ...]]:
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    steps = tomllib.loads(text)
    return {step: tuple(Slip(**entry) for entry in entries) for step, entries in steps.items()}


SLIPS: Mapping[str, tuple[Slip, ...]] = _read()  # by the step's name


@contextmanager
def standing_in(dotted: str, text: str) -> Iterator[None]:
    """Let the definition `text` stand in for a function of the package within the block.

    A function of a module keeps its identity, so that whoever holds it calls the other code too.
    Raises ValueError for a function that is neither a module's nor a class's.
    """
    module, name = module_of(dotted)
    home = import_module(module)
    made: dict[str, Any] = {}
    exec(compile(text, f"<{dotted}>", "exec"), home.__dict__, made)  # noqa: S102  our own lines
    *classes, last = name.split(".")
    if not classes:
        function: Any = getattr(home, last)
        before, function.__code__ = function.__code__, made[last].__code__
        undo: Callable[[], None] = lambda: setattr(function, "__code__", before)  # noqa: E731
    else:
        owner = reduce(getattr, classes, home)
        kept = owner.__dict__[last]
        setattr(owner, last, made[last])
        undo = lambda: setattr(owner, last, kept)  # noqa: E731
    try:
        yield
    finally:
        undo()

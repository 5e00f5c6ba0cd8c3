"""An injection as data: where it happens, what goes wrong, and how it may end."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minbert.experiments.faults.judge import UNKNOWN, Expected
from minbert.experiments.faults.place import FRESH
from minbert.experiments.faults.strikes import NOTHING, Fault


@dataclass(frozen=True)
class Damage:
    """A file or folder of the place, how it is damaged (a key of `DAMAGES`), and details."""

    path: str
    how: str
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def words(self) -> str:
        """The damage, for a person."""
        shown = ", ".join(str(value)[:30] for value in self.details.values())
        return f"{self.path}: {self.how} {shown!r}" if shown else f"{self.path}: {self.how}"


@dataclass(frozen=True)
class Injection:
    """One fault in one place.

    A damage comes before the command starts, the fault while it runs. With `put_back` the damage
    is undone before the command goes on. `play` says how (a key of `PLAYS`); with `plain` the
    process is a new interpreter. `second` is the fault of another process at the same time, which
    starts `delay` seconds later; `delay` is also when a signal comes from outside.
    """

    group: str
    name: str
    template: str = FRESH
    fault: Fault = NOTHING
    damage: Damage | None = None
    expected: Expected = UNKNOWN
    play: str = "alone"
    plain: bool = False
    put_back: bool = False
    second: Fault = NOTHING
    delay: float = 0.0

    @property
    def key(self) -> str:
        """A name that is the same for the same injection, and for no other one."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]

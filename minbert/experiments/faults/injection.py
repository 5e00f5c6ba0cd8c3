"""An injection as data: where it happens, what goes wrong, and how it may end."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minbert.experiments.faults.judge import Expected
from minbert.experiments.faults.place import FRESH
from minbert.experiments.faults.strikes import Fault

_DRAFT = re.compile(r"\.[0-9a-f]{8}\.[0-9a-f]{8}\.\d+\.tmp")


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
    fault: Fault = Fault()
    damage: Damage | None = None
    expected: Expected = Expected()
    play: str = "alone"
    plain: bool = False
    put_back: bool = False
    second: Fault = Fault()
    delay: float = 0.0

    @property
    def key(self) -> str:
        """A name that is the same for the same injection, and for no other one."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def readable(words: str, root: Path) -> str:
    """An operation's words, with paths within the place and without the names of drafts."""
    return _DRAFT.sub(".draft", words.replace(f"{root}/", "").replace(str(root), "."))

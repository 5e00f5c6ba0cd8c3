"""An experiment as data: rows of commands, what is compared, and the figures once published."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from minbert.support.errors import InputError

BASE_SEED = 11711  # the course's; further seeds count up from it
SECONDS = "s/epoch"
POSTER = "the poster's"


@dataclass(frozen=True)
class GridRow:
    """A line of a table: the flags of the main job that make it, in one command or several.

    Each of several commands gives the scores that those before it do not. `published` has figures
    by task, and seconds an epoch under `SECONDS`. `cost` says how long the row takes in relation to
    the other rows; the time left is estimated from it until a run of the row was made.
    """

    name: str
    commands: tuple[str, ...]
    published: Mapping[str, float] = field(default_factory=dict)
    cost: float = 1.0


@dataclass(frozen=True)
class Experiment:
    """A grid of rows × seeds, and the pairs of rows that are `compared`, the first with the second.

    `source` says whose the published figures are. `shared` are flags of all rows, unless others are
    given in their place. `notes` say what a reader must know of the figures. `seeded` are the flags
    that a seed decides, and seeds count up from `first_seed`. `tasks`, and the further scores
    `beside` them, which are shown and not tested, are written as `columns.py` reads them.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    rows: tuple[GridRow, ...]
    compared: tuple[tuple[str, str], ...] = ()
    source: str = ""
    shared: str = ""
    notes: tuple[str, ...] = ()
    seeded: str = "--seed {seed}"
    first_seed: int = BASE_SEED
    beside: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every score that is shown."""
        return (*self.tasks, *self.beside)

    def only(self, names: Sequence[str]) -> Experiment:
        """The experiment with these rows alone. Raises InputError for an unknown name.

        Dashes at a name's front may be left out: on a command line they would begin another flag.
        """
        known = {row.name.lstrip("-"): row for row in self.rows}
        wanted = [name.lstrip("-") for name in names]
        for name in wanted:
            if name not in known:
                raise InputError(f"--rows {name!r}: no such row; there are: {', '.join(known)}")
        kept = tuple(row for name, row in known.items() if name in wanted)
        left = {row.name for row in kept}
        pairs = tuple(pair for pair in self.compared if left.issuperset(pair))
        return dataclasses.replace(self, rows=kept, compared=pairs)


@dataclass(frozen=True)
class Scale:
    """The part of an experiment that is run: epochs, `limit` drawn rows of every file, seeds."""

    epochs: int
    limit: int | None
    seeds: int

    def flags(self, command: str) -> str:
        """The flags that the scale adds to a command; the command's own epochs win."""
        given = flags_in(shlex.split(command))
        # --stdpp means twice the epochs, which it does not do where they are given
        epochs = self.epochs * (2 if "--stdpp" in given else 1)
        parts = [] if "--epochs" in given else [f"--epochs {epochs}"]
        parts += [f"--limit {self.limit}"] if self.limit else []
        return " ".join(parts)


def flags_in(words: Iterable[str]) -> set[str]:
    """The flags among a command's words, without their values."""
    return {word.split("=")[0] for word in words if word.startswith("--")}


SCALES: Mapping[str, Scale] = {
    "smoke": Scale(epochs=1, limit=128, seeds=1),
    "small": Scale(epochs=1, limit=20_000, seeds=3),
    "full": Scale(epochs=10, limit=None, seeds=10),
}

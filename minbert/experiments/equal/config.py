"""The flags of `equal`: which arms, on how many rows and draws, within which budget."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from minbert.experiments.equal.arms import ARMS, STANDARD, Arm
from minbert.experiments.grid.config import GRID, WHERE, GridConfig
from minbert.support.errors import InputError
from minbert.support.flags import AT_LEAST_ONE, POSITIVE, Limit, When, flag

BATCH_SIZE = 8


@dataclass(frozen=True)
class Sizes:
    """How much of the experiment a scale runs. `budget` is in unit-epochs (docs/equal-compute.md).

    `rates` are the learning rates that every method tries; standard has those between them as well.
    """

    rows: int
    budget: float
    draws: int
    tuning_draws: int
    rates: tuple[float, ...]


_SIZES: Mapping[str, Sizes] = {
    "smoke": Sizes(rows=64, budget=12, draws=2, tuning_draws=1, rates=(1e-4,)),
    "small": Sizes(rows=200, budget=24, draws=5, tuning_draws=1, rates=(1e-4, 2e-4)),
    "full": Sizes(rows=500, budget=48, draws=10, tuning_draws=2, rates=(5e-5, 1e-4, 2e-4, 4e-4)),
}


def _by_scale(field: str) -> str:
    return ", ".join(f"{name} {getattr(sizes, field):g}" for name, sizes in _SIZES.items())


@dataclass(frozen=True)
class EqualConfig(GridConfig):
    """The arms, and how much of the experiment is run."""

    scale: str = flag(
        "smoke",
        GRID,
        "smoke: minutes, to see that all works; small: hours; full: as docs/equal-compute.md "
        "says, many hours",
        choices=tuple(_SIZES),
    )
    seeds: int | None = flag(
        None,
        GRID,
        "draws of training rows, each with a seed of its own, that the arms are compared on; "
        f"default: {_by_scale('draws')}",
        limit=Limit(lambda draws: draws >= 2, "2 or more"),
        metavar="DRAWS",
    )
    epochs: int | None = flag(
        None,
        GRID,
        "not here: the budget decides the epochs",
        metavar="N",
        acts=[When(lambda _config: False, "another experiment: here --budget decides the epochs")],
    )
    train_rows: int | None = flag(
        None,
        GRID,
        f"rows of each task in a draw; default: {_by_scale('rows')}",
        limit=AT_LEAST_ONE,
        metavar="N",
    )
    budget: float | None = flag(
        None,
        GRID,
        "compute of every run, in forward passes for each batch of an epoch: a plain step takes 3, "
        f"so 3 is an epoch of standard training; default: {_by_scale('budget')}",
        limit=POSITIVE,
        metavar="UNITS",
    )
    lowest_rate: float | None = flag(
        None,
        GRID,
        "lowest learning rate tried, each further one twice the one before; "
        "default: 1e-4, with full 5e-5",
        limit=POSITIVE,
        metavar="RATE",
    )

    known: str | None = flag(
        None,
        WHERE,
        "runs.jsonl of the same experiment, as --out of another machine has it: its runs are not "
        "made again. A run of other code, data, weights or flags is not the same",
        metavar="FILE",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.rows:
            if name not in ARMS:
                raise InputError(f"--rows {name!r}: no such arm; there are: {', '.join(ARMS)}")
        if self.rows and not {STANDARD} < set(self.rows):
            raise InputError(f"--rows: name {STANDARD}, and arms that are compared with it")
        if self.sizes.rows < BATCH_SIZE:
            raise InputError(f"--train_rows {self.sizes.rows}: less than a batch of {BATCH_SIZE}")

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms that are run, in the order of the tables."""
        return tuple(arm for name, arm in ARMS.items() if name in (self.rows or ARMS))

    @property
    def sizes(self) -> Sizes:
        """The scale's sizes, with those that were given in their place."""
        sizes = _SIZES[self.scale]
        rates = sizes.rates
        if self.lowest_rate is not None:
            rates = tuple(self.lowest_rate * 2**place for place in range(len(rates)))
        return dataclasses.replace(
            sizes,
            rows=self.train_rows or sizes.rows,
            budget=self.budget or sizes.budget,
            draws=self.seeds or sizes.draws,
            rates=rates,
        )

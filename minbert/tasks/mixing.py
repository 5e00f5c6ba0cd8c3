"""The schedules of `--rrobin`: how many batches of each task an epoch takes, and how large.

Arithmetic on the sizes of the training sets, no more; `sampling.py` says which rows these are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from minbert.support.errors import InputError


@dataclass(frozen=True)
class Draw:
    """What an epoch takes of a task: `rows` rows in `batches`, of which the last may be short."""

    task: str
    batch_size: int
    batches: int
    rows: int


Draws = Callable[[int], tuple[Draw, ...]]  # of an epoch, counted from 0, in the order of turns


@dataclass(frozen=True)
class Setting:
    """What a schedule depends on.

    `sizes` are the rows of each task's training set, in the order of turns. Tasks that are
    `skipped` count for the number of rounds, but have no turn.
    """

    sizes: Mapping[str, int]
    batch_size: int
    epochs: int = 1
    skipped: Collection[str] = ()
    pre_task: str = ""
    pre_epochs: int = 0
    temperature: float = 1.0
    epoch_batches: int | None = None

    @property
    def in_turn(self) -> dict[str, int]:
        """The sizes of the tasks that have turns."""
        return {task: size for task, size in self.sizes.items() if task not in self.skipped}


@dataclass(frozen=True)
class Kind:
    """A schedule. With `rounds` the tasks take turns, a batch each; else their order is random."""

    words: str  # for --help
    draws: Callable[[Setting], Draws]
    rounds: bool


def alone(setting: Setting) -> Draws:
    """One task, every row once an epoch."""
    ((task, size),) = setting.in_turn.items()
    draw = _pass_over(task, size, setting.batch_size)
    return lambda _epoch: (draw,)


def equal(setting: Setting) -> Draws:
    """As many rounds as the smallest task has whole batches, all batches of one size.

    Raises InputError where it has none.
    """
    smallest = min(setting.sizes, key=lambda task: setting.sizes[task])
    rounds = _whole_batches(setting, smallest)
    draws = tuple(_whole(task, setting.batch_size, rounds) for task in setting.in_turn)
    return lambda _epoch: draws


def pre(setting: Setting) -> Draws:
    """First `pre_epochs` passes over `pre_task` alone, then `equal`."""
    size = setting.sizes[setting.pre_task]
    first, then = _pass_over(setting.pre_task, size, setting.batch_size), equal(setting)
    return lambda epoch: (first,) if epoch < setting.pre_epochs else then(epoch)


def full(setting: Setting) -> Draws:
    """As many rounds R as the largest task has whole batches; a smaller task's batches hold
    max(1, ⌊rows / R⌋), so that all are through together (the poster's interleaved schedule).

    Raises InputError where the largest task has not one whole batch.
    """
    largest = max(setting.sizes, key=lambda task: setting.sizes[task])
    rounds = _whole_batches(setting, largest)
    draws = tuple(
        _whole(task, min(setting.batch_size, max(1, size // rounds)), rounds)
        for task, size in setting.in_turn.items()
    )
    return lambda _epoch: draws


def by_size(exponent: Callable[[Setting, int], float]) -> Callable[[Setting], Draws]:
    """A task's share of an epoch's batches is size ** exponent / Σ size ** exponent.

    `exponent` is a function of setting and epoch; 1 is proportional to the sizes, 0 is equal
    (Stickland & Murray 2019, section 3.3). Shares are rounded by their largest remainders. An
    epoch has `epoch_batches` batches, or as many as the rows of all tasks make.
    Raises InputError where a task has not one whole batch, or would get none.
    """

    def of(setting: Setting) -> Draws:
        for task in setting.in_turn:
            _whole_batches(setting, task)
        sizes = list(setting.in_turn.values())
        total = setting.epoch_batches or -(-sum(sizes) // setting.batch_size)

        def draws(epoch: int) -> tuple[Draw, ...]:
            counts = apportioned(total, [size ** exponent(setting, epoch) for size in sizes])
            for task, count in zip(setting.in_turn, counts, strict=True):
                if not count:
                    raise InputError(f"--epoch_batches {total}: {task} would get none; raise it")
            taken = zip(setting.in_turn, counts, strict=True)
            return tuple(_whole(task, setting.batch_size, count) for task, count in taken)

        return draws

    return of


def apportioned(total: int, weights: Sequence[float]) -> list[int]:
    """`total` in the ratio of the weights, in whole numbers (Hamilton's largest remainders)."""
    quotas = [total * weight / sum(weights) for weight in weights]
    counts = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda i: counts[i] - quotas[i])
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    return counts


def _pass_over(task: str, size: int, batch_size: int) -> Draw:
    return Draw(task, batch_size, -(-size // batch_size), size)


def _whole(task: str, batch_size: int, batches: int) -> Draw:
    return Draw(task, batch_size, batches, batches * batch_size)


def _whole_batches(setting: Setting, task: str) -> int:
    batches = setting.sizes[task] // setting.batch_size
    if not batches:
        raise InputError(
            f"--batch_size {setting.batch_size}: {task} has only {setting.sizes[task]} rows to "
            "train on, not one whole batch; lower it"
        )
    return batches


def _falling(setting: Setting, epoch: int) -> float:
    """From 1 in the first epoch to 0 in the last."""
    return 1 - epoch / (setting.epochs - 1)


EQUAL, PRE, ANNEALED, TEMPERATURE = "equal", "pre", "annealed", "temperature"
SCHEDULES: Mapping[str, Kind] = {
    EQUAL: Kind(
        "the tasks in turn, for as many rounds as the smallest has whole batches", equal, True
    ),
    PRE: Kind("first --pre_epochs of --pre_task alone, then equal, optimizer anew", pre, True),
    "full": Kind(
        "as many rounds as the largest has whole batches, the others' batches smaller, so that "
        "all are through together",
        full,
        True,
    ),
    "proportional": Kind("batches in the ratio of the sizes", by_size(lambda *_: 1.0), False),
    "sqrt": Kind("of their square roots", by_size(lambda *_: 0.5), False),
    ANNEALED: Kind("proportional in the first epoch, equal in the last", by_size(_falling), False),
    TEMPERATURE: Kind(
        "of sizes to the power 1 / --temperature",
        by_size(lambda setting, _: 1 / setting.temperature),
        False,
    ),
}
WITH_ROUNDS = tuple(name for name, kind in SCHEDULES.items() if kind.rounds)


def table(draws: Draws, sizes: Mapping[str, int], epochs: int) -> list[str]:
    """What epochs draw of each task, as lines; equal epochs have theirs in common."""
    lines = [
        f"{'epochs':<9}{'task':<7}{'batch size':>10}{'batches':>9}{'rows':>9}{'of its set':>12}"
    ]
    for own, numbers in groupby(range(epochs), draws):
        first, *rest = (number + 1 for number in numbers)
        span = f"{first}-{rest[-1]}" if rest else str(first)
        for draw in own:
            share = f"{draw.rows / sizes[draw.task]:.1%}"
            shown = f"{draw.batch_size:>10}{draw.batches:>9}{draw.rows:>9}{share:>12}"
            lines.append(f"{span:<9}{draw.task:<7}{shown}")
            span = ""
    return lines

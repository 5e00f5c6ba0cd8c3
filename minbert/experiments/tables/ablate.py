"""Any grid of flags and values: `python -m minbert.experiments ablate --over AXIS...`.

Axes are multiplied out. A flag that would do nothing in a combination is left out of it, and equal
combinations are one row: `--over smart smart_lambda=1,5` has the three rows without SMART, with 1
and with 5.
"""

import itertools
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from minbert.experiments.grid.config import GRID, GridConfig
from minbert.experiments.grid.experiment import Experiment, GridRow, flags_in
from minbert.experiments.tables.command import grid_command
from minbert.finetune import cli
from minbert.finetune.config import RunConfig
from minbert.support.errors import InputError
from minbert.support.flags import flag, idle_flags
from minbert.tasks.registry import TASKS

_DESCRIPTION = """\
Train with every combination of some flags' values, over several seeds, and compare each with the
first. Flags of the main job for all rows follow after --. Typical:

  python -m minbert.experiments ablate --over smart pooling=cls,mean --seeds 3 -- --rrobin
  python -m minbert.experiments ablate --over r3f_lambda=.1,.5,1,5 -- --rrobin --r3f
  python -m minbert.experiments ablate --preset smart-lambda --scale small -- --rrobin
"""
PRESETS: Mapping[str, tuple[str, ...]] = {
    "smart-lambda": ("smart", "smart_lambda=.01,.1,1,5,10,100"),  # the poster's sweep
    "r3f": ("r3f", "r3f_lambda=.1,.5,1,5", "r3f_noise=normal,uniform"),  # the R3F paper's grid
}
Combination = tuple[str, ...]  # words of the command line


@dataclass(frozen=True)
class AblateConfig(GridConfig):
    """The axes of the grid, and how much of it is run."""

    over: tuple[str, ...] = flag(
        (),
        GRID,
        "axes of the grid: FLAG=VALUE,VALUE,... for a flag of multitask_classifier.py that takes a "
        "value; FLAG alone for one that may stand alone, off and on",
        metavar="AXIS",
        several=True,
    )
    preset: str | None = flag(
        None,
        GRID,
        "a grid by name: "
        + "; ".join(f"{name}, {' '.join(axes)}" for name, axes in PRESETS.items()),
        choices=tuple(PRESETS),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.over) == bool(self.preset):
            raise InputError("give --over AXIS..., or --preset NAME (--help lists the presets)")
        if self.epochs is not None and "epochs" in map(_name, self.axes):
            raise InputError(f"--epochs {self.epochs} would do nothing here: --over has epochs")

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that are given, or the preset's."""
        return self.over or PRESETS[str(self.preset)]


def experiment(axes: Sequence[str], extra: Sequence[str] = ()) -> Experiment:
    """The grid of the axes beside the flags `extra`; every row is compared with the first.

    Raises InputError for an axis that is unknown, or that does nothing in any combination.
    """
    values = [_values(axis) for axis in axes]
    names = [_name(axis) for axis in axes]
    if twice := [axis for axis in axes if names.count(_name(axis)) > 1]:
        raise InputError(f"--over {' '.join(twice)}: one axis, with all its values: FLAG=VALUE,...")
    given = {f"--{name}" for name in names} | flags_in(extra)
    option = () if given & {"--option", "--fine-tune-mode"} else ("--option", "finetune")
    combinations = _combinations(axes, values, (*option, *extra))
    rows = tuple(
        GridRow(" ".join(words) or "without", (shlex.join((*option, *words)),))
        for words in combinations
    )
    compared = tuple((row.name, rows[0].name) for row in rows[1:])
    title = f"Ablation over {', '.join(axes)}"
    return Experiment("ablate-" + "-".join(names), title, tuple(TASKS), rows, compared)


def _combinations(
    axes: Sequence[str], values: Sequence[Sequence[Combination]], others: Sequence[str]
) -> list[Combination]:
    """The products of the axes' values, without idle flags, each combination once."""
    kept: dict[Combination, None] = {}
    needs: dict[str, str] = {}
    for chosen in itertools.product(*values):
        words = tuple(itertools.chain.from_iterable(chosen))
        while idle := _idle(words, others):
            needs |= idle  # the last combination has most of the flags: what it lacks is said
            words = _without(words, idle)
        kept[words] = None
    acting = flags_in(itertools.chain.from_iterable(kept))
    for axis in axes:
        if f"--{_name(axis)}" not in acting:
            raise InputError(
                f"--over {axis}: would do nothing in any combination; it needs {needs[_name(axis)]}"
            )
    return list(kept)


def _name(axis: str) -> str:
    return axis.split("=")[0].lstrip("-")


def _values(axis: str) -> list[Combination]:
    """The choices of an axis, each as words of the command line; () leaves the flag out."""
    name, given, text = axis.lstrip("-").partition("=")
    known = RunConfig.__dataclass_fields__
    if name not in known:
        raise InputError(f"--over {axis}: multitask_classifier.py has no flag --{name}")
    is_switch = known[name].default is False
    if not given:
        if not is_switch and known[name].metadata["bare"] is None:
            raise InputError(f"--over {axis}: takes values; write {name}=VALUE,VALUE")
        return [(), (f"--{name}",)]
    if is_switch:
        raise InputError(f"--over {axis}: takes no values; write {name} alone")
    if not all(values := text.split(",")):
        raise InputError(f"--over {axis}: an empty value")
    return [(f"--{name}", value) for value in values]


def _idle(words: Combination, others: Sequence[str]) -> dict[str, str]:
    """The flags among `words` that would do nothing beside `others`, and what each needs."""
    given = cli.make_parser().parse_args([*words, *others])
    known = RunConfig.__dataclass_fields__
    config = RunConfig(**{k: v for k, v in vars(given).items() if k in known})
    return dict(idle_flags(config, {flag.removeprefix("--") for flag in flags_in(words)}))


def _without(words: Combination, idle: Collection[str]) -> Combination:
    """The words without the idle flags and their values."""
    starts = [place for place, word in enumerate(words) if word.startswith("--")]
    flags = (words[start:end] for start, end in itertools.pairwise([*starts, len(words)]))
    kept = (flag for flag in flags if flag[0].removeprefix("--") not in idle)
    return tuple(itertools.chain.from_iterable(kept))


main = partial(
    grid_command,
    "ablate",
    _DESCRIPTION,
    AblateConfig,
    lambda config, extra: experiment(config.axes, extra),
)

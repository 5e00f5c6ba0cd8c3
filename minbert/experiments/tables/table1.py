"""The poster's Table 1, `python -m minbert.experiments table1`: SST and CFIMDB, each alone.

The figures are from the poster "Walk Less and Only Down Smooth Valleys", on the dev sets.
"""

from functools import partial

from minbert.experiments.grid.config import GridConfig
from minbert.experiments.grid.experiment import POSTER, SECONDS, Experiment, GridRow
from minbert.experiments.tables.command import grid_command

_DESCRIPTION = """\
Train on one task alone, SST and CFIMDB, with the encoder frozen and fine-tuned, and print the
poster's Table 1 with its figures beside ours. Flags of the main job follow after --. Typical:

  python -m minbert.experiments table1 --scale small --seeds 3 --workers 2
"""


def experiment() -> Experiment:
    """The table's two rows, of two runs each; seconds are the sum of the two."""

    def row(option: str, sst: float, cfimdb: float, seconds: float) -> GridRow:
        commands = tuple(f"--option {option} --tasks {task}" for task in ("sst", "cfimdb"))
        return GridRow(option, commands, {"sst": sst, "cfimdb": cfimdb, SECONDS: seconds}, seconds)

    return Experiment(
        "table1",
        "Table 1: single tasks",
        ("sst", "cfimdb"),
        (row("pretrain", 0.393, 0.788, 30 + 45), row("finetune", 0.522, 0.963, 120 + 150)),
        compared=(("finetune", "pretrain"),),
        source=POSTER,
        shared="--batch_size 64",
        notes=(
            "seconds an epoch are those of the SST and the CFIMDB run together, on both sides; the "
            "poster's benchmark column is left out",
        ),
    )


main = partial(grid_command, "table1", _DESCRIPTION, GridConfig, lambda *_: experiment())

"""Seed distributions, `python -m minbert.experiments seeds`: score and time over seeds a method.

The R3F paper (Aghajanyan et al. 2021) shows them in Figures 1 and 2, over ten seeds.
"""

import itertools
from functools import partial

from minbert.experiments.grid.config import GridConfig
from minbert.experiments.grid.experiment import Experiment, GridRow
from minbert.experiments.tables.command import grid_command

_DESCRIPTION = """\
Train with each method over several seeds, and print mean, spread and time of each. Flags of the
main job follow after --. Typical:

  python -m minbert.experiments seeds --scale small --seeds 10 --workers 2
"""
_METHODS = {  # flags, and the cost of a step in forward units
    "standard": ("", 3),
    "STD++": ("--stdpp", 6),  # a step costs 3, and there are twice as many
    "SMART": ("--smart", 12),
    "R3F": ("--r3f", 6),
    "R4F": ("--r4f", 6),
    "FreeLB": ("--freelb", 6),
}


def experiment() -> Experiment:
    """A row for each method, all on the three tasks in turn.

    Each is compared with STD++, as in the paper, and with standard fine-tuning, from which it
    differs by the method alone.
    """
    rows = tuple(
        GridRow(name, (f"--option finetune --rrobin {flags}".strip(),), cost=cost)
        for name, (flags, cost) in _METHODS.items()
    )
    pairs = itertools.product(_METHODS, ("standard", "STD++"))
    compared = tuple(pair for pair in pairs if pair[0] not in ("standard", pair[1]))
    title = "Scores over seeds, a row a method"
    return Experiment("seeds", title, ("sst", "para", "sts"), rows, compared)


main = partial(grid_command, "seeds", _DESCRIPTION, GridConfig, lambda *_: experiment())

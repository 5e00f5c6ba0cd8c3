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
STANDARD, STDPP = "standard", "STD++"
METHODS = {  # flags, and the cost of a step in forward units
    STANDARD: ("", 3),
    STDPP: ("--stdpp", 6),  # a step costs 3, and there are twice as many
    "SMART": ("--smart", 12),
    "R3F": ("--r3f", 6),
    "R4F": ("--r4f", 6),
    "FreeLB": ("--freelb", 6),
}
COMPARED = tuple(
    pair
    for pair in itertools.product(METHODS, (STANDARD, STDPP))
    if pair[0] not in (STANDARD, pair[1])
)


def experiment() -> Experiment:
    """A row for each method, all on the three tasks in turn.

    Each is compared with STD++, as in the paper, and with standard fine-tuning, from which it
    differs by the method alone.
    """
    rows = tuple(
        GridRow(name, (f"--option finetune --rrobin {flags}".strip(),), cost=cost)
        for name, (flags, cost) in METHODS.items()
    )
    title = "Scores over seeds, a row a method"
    return Experiment("seeds", title, ("sst", "para", "sts"), rows, COMPARED)


main = partial(grid_command, "seeds", _DESCRIPTION, GridConfig, lambda *_: experiment())

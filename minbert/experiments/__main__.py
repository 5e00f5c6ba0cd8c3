"""`python -m minbert.experiments COMMAND`: measurements, and grids over methods and seeds."""

import sys
from collections.abc import Sequence

from minbert.support.dispatch import Commands, dispatch

_EACH = {  # its module here, and what it does
    "bench": ("bench.command", "this package's speed beside other libraries'"),
    "cost": ("cost.command", "what a training step of each method costs"),
    "scale": ("scale.command", "how time and memory grow with the work"),
    "gpu": ("gpu.command", "all that is worth measuring on a GPU, within minutes"),
    "exchange": ("exchange", "what several processes exchange in a step"),
    "table1": ("tables.table1", "the poster's first table: single tasks"),
    "table2": ("tables.table2", "the poster's second table: three tasks, nine rows"),
    "seeds": ("tables.seeds", "one row a method: scores and time over seeds"),
    "glue": ("tables.glue", "the R3F paper's Table 2: GLUE's tasks, a row a method"),
    "xnli": ("tables.xnli", "the R3F paper's Table 3: trained in English, scored in 15 languages"),
    "equal": ("equal.command", "methods at equal compute, on fresh draws of rows"),
    "probe": ("probe.command", "does fine-tuning make representations collapse?"),
    "ablate": ("tables.ablate", "any grid of flags and values"),
    "faults": ("faults.command", "faults injected into runs, and what they cost"),
    "variants": ("variants", "what known wrong variants of SMART and R3F compute"),
    "all": ("all", "both tables and the costs, in one report"),
}
COMMANDS: Commands = {
    name: (f"minbert.experiments.{module}", what) for name, (module, what) in _EACH.items()
}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the rest of the command line to a command; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    return dispatch("python -m minbert.experiments", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m minbert.experiments COMMAND`: measurements, and grids over methods and seeds."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from minbert.support.command import show
from minbert.support.console import log, set_up_logging

_WHAT = {
    "bench": "this package's speed beside other libraries'",
    "cost": "what a training step of each method costs",
    "scale": "how time and memory grow with the work",
    "probe": "what fine-tuning leaves of representations: the R3F paper's probing experiments",
    "table1": "the poster's first table: single tasks",
    "table2": "the poster's second table: three tasks, nine rows",
    "seeds": "one row a method: scores and time over seeds",
    "ablate": "any grid of flags and values",
    "variants": "what known wrong variants of SMART and R3F compute",
    "all": "both tables and the costs, in one report",
}
COMMANDS: Mapping[str, str] = {  # name -> the module whose main() it is
    "bench": "minbert.experiments.bench.command",
    "cost": "minbert.experiments.cost.command",
    "scale": "minbert.experiments.scale.command",
    "exchange": "minbert.experiments.exchange",
    "table1": "minbert.experiments.tables.table1",
    "table2": "minbert.experiments.tables.table2",
    "seeds": "minbert.experiments.tables.seeds",
    "equal": "minbert.experiments.equal.command",
    "probe": "minbert.experiments.probe.command",
    "ablate": "minbert.experiments.tables.ablate",
    "faults": "minbert.experiments.faults.command",
    "variants": "minbert.experiments.variants",
    "all": "minbert.experiments.all",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the rest of the command line to a command; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    names, asked = ", ".join(COMMANDS), arguments[0] if arguments else ""
    if asked in ("-h", "--help"):
        lines = "".join(f"\n  {name:<9} {what}" for name, what in _WHAT.items())
        show(f"usage: python -m minbert.experiments COMMAND [flags]\n\ncommands: {names}\n{lines}")
        return 0
    if asked not in COMMANDS:
        set_up_logging()
        what = f"{asked}: no such command" if asked else "no command given"
        log.error("error: %s; there are: %s (each with --help)", what, names)
        return 2
    code: int = import_module(COMMANDS[asked]).main(arguments[1:])
    return code


if __name__ == "__main__":
    sys.exit(main())

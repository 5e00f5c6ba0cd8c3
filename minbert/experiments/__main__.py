"""`python -m minbert.experiments COMMAND`: measurements, and grids over methods and seeds."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from minbert.support.command import show
from minbert.support.console import log, set_up_logging

_EACH = {  # name -> the module whose main() it is, and what it does
    "bench": ("bench.command", "this package's speed beside other libraries'"),
    "cost": ("cost.command", "what a training step of each method costs"),
    "scale": ("scale.command", "how time and memory grow with the work"),
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
COMMANDS: Mapping[str, str] = {
    name: f"minbert.experiments.{module}" for name, (module, _) in _EACH.items()
}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the rest of the command line to a command; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    asked = arguments[0] if arguments else ""
    if asked in ("-h", "--help"):
        lines = "".join(f"\n  {name:<9} {what}" for name, (_, what) in _EACH.items())
        show(f"usage: python -m minbert.experiments COMMAND [flags]\n\n{lines[1:]}")
        return 0
    if asked not in COMMANDS:
        set_up_logging()
        what = f"{asked}: no such command" if asked else "no command given"
        log.error("error: %s; there are: %s (each with --help)", what, ", ".join(COMMANDS))
        return 2
    code: int = import_module(COMMANDS[asked]).main(arguments[1:])
    return code


if __name__ == "__main__":
    sys.exit(main())

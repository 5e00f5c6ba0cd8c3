"""Every published table, `python -m minbert.experiments all`: what `./run_experiments.sh` calls."""

from __future__ import annotations

from collections.abc import Sequence

from minbert.experiments import table1, table2


def main(argv: Sequence[str]) -> int:
    """Run them one after the other with the same flags; returns the worst exit code.

    After a failed run the next table is made all the same, not after wrong usage or a signal.
    """
    worst = 0
    for command in (table1, table2):
        code = command.main(argv)
        if code > 1:
            return code
        worst = max(worst, code)
    return worst

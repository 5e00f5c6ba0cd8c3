"""The cost ledger: `python -m minbert.experiments cost`, one training step of every method."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

from minbert.experiments.cost import report
from minbert.experiments.cost.config import CostConfig
from minbert.experiments.cost.methods import METHODS, STANDARD, CostedMethod
from minbert.experiments.cost.report import CostRow
from minbert.experiments.cost.workload import Workload
from minbert.experiments.measuring import ledger
from minbert.experiments.measuring.command import MeasuringCommand
from minbert.experiments.measuring.outputs import check_outputs, write_outputs
from minbert.experiments.measuring.trial import interleaved, peak_of_first_steps
from minbert.finetune.config import RunConfig
from minbert.reports.tables import shown
from minbert.support.command import show
from minbert.support.console import ProgressBar, log
from minbert.support.errors import InputError

Found = TypeVar("Found")

_DESCRIPTION = """\
Count and measure what a training step costs with each method: passes through the encoder, forward
units (a forward pass of the batch is 1) beside those that the R3F paper's Table 1 claims, wall time
and peak memory against the standard method's, whole and in pieces of a half and a quarter of the
batch (--micro_batch_size K of the main job). Nothing is trained for use. Typical:

  python -m minbert.experiments cost --task para --length 64
  python -m minbert.experiments cost --weights bert-base-uncased --json cost.json --plot cost.svg
  python -m minbert.experiments cost --batch_size 32 --methods "SMART both, off"
"""


def run(config: CostConfig, job: RunConfig) -> list[CostRow]:
    """Measure, print the table, and write the files that are asked for. Raises InputError."""
    check_outputs(config, report.ABOUT, CostRow)
    workload = Workload.prepare(job, config.length)
    show(str(workload))
    rows = measure(workload, config.rounds, config.methods)
    show(f"{report.standard(rows[0])}\n\n{shown([report.table(rows)])}", end="")
    facts = as_json(workload, config.rounds, rows)
    write_outputs(config, rows, CostRow, facts, plot=partial(_plot, rows))
    return rows


def measure(workload: Workload, rounds: int, named: Sequence[str] = ()) -> list[CostRow]:
    """A row for standard and each method `named`, or all, that the workload's heads can have."""
    asked = [method for method in METHODS if not named or method.name in (STANDARD, *named)]
    counts = _each(asked, "counting", partial(_counted, workload))
    methods = [method for method in asked if method.name in counts]
    cuts = {method.name: method.cut(len(workload.batch.ids)) for method in methods}
    every = [*methods, *chain.from_iterable(cuts.values())]
    memory = _each(
        every,
        "peak memory",
        lambda method: peak_of_first_steps(partial(workload.prepared, method), workload.device),
    )
    turns = {method.name: partial(workload.seconds, method) for method in every}
    with ProgressBar(rounds * len(turns), "timing", "steps") as bar:
        seconds = interleaved(turns, rounds, then=partial(bar.update, 1))
    return [report.make_row(m, counts[m.name], seconds, memory, cuts[m.name]) for m in methods]


def _counted(workload: Workload, method: CostedMethod) -> ledger.Count | None:
    """A method's count; the log says why a method is left out that the heads here cannot have."""
    try:
        return workload.count(method)
    except InputError as error:
        log.info("%s is left out: %s", method.name, error)
        return None


def _each(
    methods: Sequence[CostedMethod], title: str, find: Callable[[CostedMethod], Found | None]
) -> dict[str, Found]:
    """What `find` finds for the methods, by name, without None, behind a progress bar."""
    results = {}
    with ProgressBar(len(methods), title, "methods") as bar:
        for method in methods:
            if (result := find(method)) is not None:
                results[method.name] = result
            bar.update(1)
    return results


def _plot(rows: Sequence[CostRow], path: Path) -> None:
    from minbert.experiments.cost import plots  # matplotlib only where something is plotted

    plots.plot(rows, path)


def as_json(workload: Workload, rounds: int, rows: Sequence[CostRow]) -> dict[str, object]:
    """All that was found, and what it holds for."""
    facts = {"about": report.ABOUT, **workload.facts(), "rounds": rounds}
    return {**facts, "methods": [dataclasses.asdict(row) for row in rows]}


_COMMAND = MeasuringCommand("cost", _DESCRIPTION, CostConfig, run)
make_parser, main = _COMMAND.parser, _COMMAND.main

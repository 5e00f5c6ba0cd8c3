"""The cost ledger: `python -m minbert.experiments cost`, one training step of every method."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from minbert.experiments.cost import report
from minbert.experiments.cost.config import CostConfig
from minbert.experiments.cost.methods import METHODS, Method
from minbert.experiments.cost.report import Row
from minbert.experiments.cost.setting import Setting
from minbert.experiments.measuring import ledger
from minbert.experiments.measuring.command import measuring_command, measuring_parser
from minbert.experiments.measuring.outputs import as_csv, check_outputs
from minbert.experiments.measuring.trial import interleaved, peak_memory
from minbert.finetune.config import RunConfig
from minbert.support import durable_files
from minbert.support.console import ProgressBar, log
from minbert.support.errors import InputError
from minbert.support.flags import OneLineParser

T = TypeVar("T")

_DESCRIPTION = """\
Count and measure what a training step costs with each method: passes through the encoder, forward
units (a forward pass of the batch is 1) beside those that the R3F paper's Table 1 claims, wall time
and peak memory against the standard method's. Nothing is trained for use. Typical:

  python -m minbert.experiments cost --task para --length 64
  python -m minbert.experiments cost --weights bert-base-uncased --json cost.json --plot cost.svg
"""
_SUFFIXES = {"json": (".json",), "csv": (".csv",), "plot": (".svg", ".png")}


def run(config: CostConfig, job: RunConfig) -> list[Row]:
    """Measure, print the table, and write the files that are asked for. Raises InputError.

    `job` is the main job of the same flags.
    """
    check_outputs(config, _SUFFIXES, report.ABOUT, report.FIELDS)
    setting = Setting.prepare(job, config.length)
    print(setting, flush=True)
    rows = measure(setting, config.rounds)
    print(f"{report.standard(rows[0])}\n\n{report.table(rows).markdown()}", end="")
    _write(config, setting, rows)
    return rows


def measure(setting: Setting, rounds: int) -> list[Row]:
    """A row a method that the setting can have."""
    counts = _counted(setting)
    methods = [method for method in METHODS if method.name in counts]
    peaks = _each(methods, "peak memory", lambda method: _peak(setting, method))
    memory = {name: peak for name, peak in peaks.items() if peak is not None}
    seconds = _timed(setting, methods, rounds)
    return [report.make_row(m, counts[m.name], seconds, memory) for m in methods]


def _counted(setting: Setting) -> dict[str, ledger.Count]:
    """Counts by method. One that the heads here cannot have is left out, and the log says why."""

    def count(method: Method) -> ledger.Count | None:
        try:
            return setting.count(method)
        except InputError as error:
            log.info("%s is left out: %s", method.name, error)
            return None

    counts = _each(METHODS, "counting", count)
    return {name: found for name, found in counts.items() if found is not None}


def _peak(setting: Setting, method: Method) -> int | None:
    """Bytes at the highest point of a method's first two steps."""
    return peak_memory(lambda: setting.prepared(method).step(), setting.device)


def _timed(setting: Setting, methods: Sequence[Method], rounds: int) -> dict[str, list[float]]:
    with ProgressBar(rounds * len(methods), "timing", "steps") as bar:

        def seconds(method: Method) -> float:
            found = setting.prepared(method).seconds()
            bar.update(1)
            return found

        return interleaved({m.name: partial(seconds, m) for m in methods}, rounds)


def _each(methods: Sequence[Method], title: str, find: Callable[[Method], T]) -> dict[str, T]:
    """What is found for each method, by name, behind a progress bar."""
    found = {}
    with ProgressBar(len(methods), title, "methods") as bar:
        for method in methods:
            found[method.name] = find(method)
            bar.update(1)
    return found


def _write(config: CostConfig, setting: Setting, rows: Sequence[Row]) -> None:
    if config.json is not None:
        durable_files.write_json(Path(config.json), as_json(setting, config.rounds, rows))
    if config.csv is not None:
        durable_files.write_text(Path(config.csv), as_csv(rows, report.FIELDS))
    if config.plot is not None:
        from minbert.experiments.cost import plots  # matplotlib only where something is plotted

        plots.plot(rows, Path(config.plot))


def as_json(setting: Setting, rounds: int, rows: Sequence[Row]) -> dict[str, object]:
    """All that was found, and what it holds for."""
    facts = {"about": report.ABOUT, **setting.facts(), "rounds": rounds}
    return {**facts, "methods": [dataclasses.asdict(row) for row in rows]}


def make_parser() -> OneLineParser:
    """Its command line."""
    return measuring_parser("cost", _DESCRIPTION, CostConfig)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    return measuring_command(make_parser(), CostConfig, run, argv)

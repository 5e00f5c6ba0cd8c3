"""The scale study: `python -m minbert.experiments scale`, cost as one thing after another grows."""

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from minbert.experiments.measuring.command import MeasuringCommand, on_device, where
from minbert.experiments.measuring.outputs import check_outputs, write_outputs
from minbert.experiments.measuring.rates import counted_operations
from minbert.experiments.measuring.spread import Spread
from minbert.experiments.measuring.trial import Trial, interleaved, peak_of_first_steps
from minbert.experiments.scale import data, report, steps
from minbert.experiments.scale.config import AXES, ScaleConfig
from minbert.experiments.scale.report import ScaleRow
from minbert.finetune.config import RunConfig
from minbert.reports.tables import shown
from minbert.support.command import show
from minbert.support.console import ProgressBar, log
from minbert.support.errors import InputError
from minbert.training.record import machine

_DESCRIPTION = """\
Measure how time and memory grow: with the pairs of a file that is read and encoded, and, for a
training step on random ids, with tokens a text, layers of the encoder (random weights), pairs a
batch, and ranks that share it. Nothing is trained for use. Give it a machine that does nothing
else. Typical:

  python -m minbert.experiments scale --plot scale.svg
  python -m minbert.experiments scale --axes lengths --lengths 128 256 512 --batch_size 4
"""


def run(config: ScaleConfig, job: RunConfig) -> list[ScaleRow]:
    """Measure, print the table, and write the files that are asked for. Raises InputError."""
    check_outputs(config, report.ABOUT, ScaleRow)
    job, device = on_device(job)
    rows: list[ScaleRow] = []
    for axis in dict.fromkeys(config.axes):
        if axis == "rows":
            rows += _files(config, job)
        elif axis == "ranks":
            rows += _ranks(config, job, device)
        else:
            rows += _steps(config, job, axis, device)
    show(
        f"{job.weights}; {where(device, job.precision)}; {config.rounds} rounds; "
        f"{config.batch_size} pairs a batch, {config.length} tokens a text where they do not grow."
        f"\n\n{shown([report.table(rows)])}",
        end="",
    )
    records = [dataclasses.asdict(row) for row in rows]
    facts = {"about": report.ABOUT, "rows": records, "machine": machine(device)}
    write_outputs(config, rows, ScaleRow, facts, plot=partial(_plot, rows))
    return rows


def _files(config: ScaleConfig, job: RunConfig) -> Iterator[ScaleRow]:
    source = Path(job.file(data.TASK, "train"))
    numbers = config.numbers("rows")
    with ProgressBar(len(numbers), "files", "files") as bar:
        for number in numbers:
            seconds, memory = data.measured(source, str(job.weights), number)
            yield ScaleRow("rows", number, *Spread.of([seconds]), memory, None)
            bar.update(1)


def _steps(config: ScaleConfig, job: RunConfig, axis: str, device: torch.device) -> list[ScaleRow]:
    numbers = config.numbers(axis)
    encoders = {number: steps.encoder_of(job, {axis: number}) for number in numbers}
    make = {
        number: partial(steps.trial_of, config, job, {axis: number}, encoder, device)
        for number, encoder in encoders.items()
    }
    with ProgressBar((config.rounds + 1) * len(numbers), AXES[axis], "steps") as bar:
        peaks = {}
        for number in numbers:
            peaks[number] = peak_of_first_steps(make[number], device)
            bar.update(1)
        trials = {number: make[number]() for number in numbers}
        turns = {str(number): trial.seconds for number, trial in trials.items()}
        times = interleaved(turns, config.rounds, then=partial(bar.update, 1))
    return [
        _step_row(axis, number, times[str(number)], peaks[number], trial)
        for number, trial in trials.items()
    ]


def _ranks(config: ScaleConfig, job: RunConfig, device: torch.device) -> Iterator[ScaleRow]:
    """A step by more and more ranks; the log names a number of ranks that has no place here."""
    for number in config.numbers("ranks"):
        try:
            seconds, peak = steps.of_ranks(config, job, number, device)
        except InputError as error:
            log.warning("%s: left out", error)
            continue
        trial = steps.trial_of(config, job, {}, steps.encoder_of(job, {}), device)
        yield _step_row("ranks", number, seconds, peak, trial)


def _step_row(
    axis: str, value: int, seconds: Sequence[float], peak: int | None, trial: Trial
) -> ScaleRow:
    operations = counted_operations(trial, [trial.batch])
    return ScaleRow(axis, value, *Spread.of(seconds), peak, operations)


def _plot(rows: Sequence[ScaleRow], path: Path) -> None:
    from minbert.experiments.scale import plot  # matplotlib only where something is plotted

    plot.plot(rows, path)


_COMMAND = MeasuringCommand("scale", _DESCRIPTION, ScaleConfig, run)
make_parser, main = _COMMAND.parser, _COMMAND.main

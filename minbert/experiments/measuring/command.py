"""The frame of every measuring command: its parser, its run, the machine it runs on."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from minbert.finetune.config import RunConfig
from minbert.support.command import run_command
from minbert.support.device import pick_device, pick_precision
from minbert.support.flags import OneLineParser, parser_for
from minbert.training.record import machine


def where(device: torch.device, precision: str) -> str:
    """The machine and how it computes, in words."""
    facts = machine(device)
    return f"{facts['device']}, {precision}, threads: {facts['threads']}, torch {torch.__version__}"


def on_device(job: RunConfig) -> tuple[RunConfig, torch.device]:
    """The job with its precision decided, `bf16` or `fp32`, and the device it asks for."""
    device = pick_device(job.device)
    precision = pick_precision(job.precision, device, lowers=False)
    return dataclasses.replace(job, precision=precision), device


@dataclass(frozen=True)
class MeasuringCommand:
    """A command that measures: `run` takes a `kind` of configuration and its main job."""

    name: str
    description: str
    kind: type
    run: Callable[[Any, RunConfig], object]

    def parser(self) -> OneLineParser:
        """One flag for each field of `kind`; the parser stores only the flags that were typed."""
        prog = f"python -m minbert.experiments {self.name}"
        usage = "%(prog)s [flags]"
        return parser_for(self.kind, prog=prog, usage=usage, description=self.description)

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run it on the flags in `argv`; returns the exit code."""

        def work(_stop: object) -> None:
            given = vars(self.parser().parse_args(sys.argv[1:] if argv is None else argv))
            config = self.kind(**given)
            self.run(config, config.job(given))

        return run_command(work, if_stopped="nothing was written")

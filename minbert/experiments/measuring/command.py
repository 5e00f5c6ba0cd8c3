"""What the measuring commands have in common: their parser, the machine they run on, their end."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from minbert.finetune.config import RunConfig
from minbert.support.command import run_command
from minbert.support.device import pick_autocast, pick_device
from minbert.support.flags import OneLineParser, parser_for
from minbert.training.record import machine


def where(device: torch.device, precision: str) -> str:
    """The machine and how it computes, in words."""
    facts = machine(device)
    return f"{facts['device']}, {precision}, threads: {facts['threads']}, torch {torch.__version__}"


def on_device(job: RunConfig) -> tuple[RunConfig, torch.device]:
    """The job with its precision decided, `bf16` or `fp32`, and the device it asks for."""
    device = pick_device(job.device)
    lowered = pick_autocast(job.precision, device) is not None
    return dataclasses.replace(job, precision="bf16" if lowered else "fp32"), device


def measuring_parser(name: str, description: str, kind: type) -> OneLineParser:
    """A parser with one flag for each field of `kind`; it stores only the flags that were typed."""
    prog = f"python -m minbert.experiments {name}"
    return parser_for(kind, prog=prog, usage="%(prog)s [flags]", description=description)


def measuring_command(
    parser: OneLineParser,
    kind: type,
    run: Callable[[Any, RunConfig], object],
    argv: Sequence[str] | None,
) -> int:
    """Call `run` with the `kind` of configuration that `argv` makes, and its main job.

    Returns the exit code.
    """

    def work(_stop: object) -> None:
        given = vars(parser.parse_args(sys.argv[1:] if argv is None else argv))
        config = kind(**given)
        run(config, config.job(given))

    return run_command(work, if_stopped="nothing was written")

"""What the commands that measure have in common: their flags for the files, and how they run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch

from minbert.finetune.config import RunConfig
from minbert.support.command import run_command
from minbert.support.flags import Limit, OneLineParser, flag, parser_for
from minbert.training.record import machine


def _are_numbers(texts: Collection[str]) -> bool:
    return all(text.isdecimal() and int(text) >= 1 for text in texts) and len(texts) > 0


NUMBERS = Limit(_are_numbers, "whole numbers, 1 or more")  # of a flag that takes several


def where(device: torch.device, precision: str) -> str:
    """The machine and how it computes, in words."""
    facts = machine(device)
    return f"{facts['device']}, {precision}, threads: {facts['threads']}, torch {torch.__version__}"


def json_flag(group: str) -> Any:
    """Where all that was found goes, for programs."""
    return flag(None, group, "all that was found, and on which machine", metavar="FILE")


def csv_flag(group: str) -> Any:
    """Where the table goes, for programs."""
    return flag(None, group, "the table, with all fields", metavar="FILE")


def measuring_parser(name: str, description: str, kind: type) -> OneLineParser:
    """One flag a field of `kind`; only flags that were typed are stored."""
    return parser_for(
        kind,
        prog=f"python -m minbert.experiments {name}",
        usage="%(prog)s [flags]",
        description=description,
    )


def measuring_command(
    parser: OneLineParser,
    kind: type,
    run: Callable[[Any, RunConfig], object],
    argv: Sequence[str] | None,
) -> int:
    """Run a measurement on a `kind` of configuration and its main job; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv

    def work(_stop: object) -> None:
        given = vars(parser.parse_args(arguments))
        config = kind(**given)
        run(config, config.job(given))

    return run_command(work, if_stopped="nothing was written")

"""The command line of the main job: flags to a `RunConfig`, errors to exit codes.

Exit codes: 0 done, 1 failed, 2 wrong usage or wrong input, 130 and 143 stopped by a signal.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch

from minbert.config import TRAINING, RunConfig, refuse_idle_flags
from minbert.job import run
from minbert.runtime import InputError, RunError, Stopped, StopRequest, log, set_up_logging
from minbert.sources import locate

_MODES = {"last-linear-layer": "pretrain", "full-model": "finetune"}

_DESCRIPTION = """\
Fine-tune BERT on sentiment (sst), paraphrase (para) and similarity (sts), score the dev sets,
and write the six prediction files of the course. Typical:

  python multitask_classifier.py --option finetune --rrobin
  python multitask_classifier.py --option finetune --smart --rrobin
"""


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (--help lists the flags)")


def make_parser() -> argparse.ArgumentParser:
    """One flag a field of RunConfig, in its groups; only flags that were typed are stored."""
    parser = _OneLineParser(
        prog="multitask_classifier.py",
        usage="python %(prog)s --option {pretrain,finetune} [flags]",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    hints = typing.get_type_hints(RunConfig)
    groups: dict[str, Any] = {}
    for entry in dataclasses.fields(RunConfig):
        title = entry.metadata["group"]
        group = groups.setdefault(title, None) or parser.add_argument_group(title)
        groups[title] = group
        group.add_argument(f"--{entry.name}", **_argument(entry, hints[entry.name]))
    groups[TRAINING].add_argument(
        "--fine-tune-mode",
        choices=tuple(_MODES),
        help="the 2024 handout's spelling of --option: last-linear-layer is pretrain, "
        "full-model is finetune",
    )
    return parser


def _argument(entry: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
    facts, default = entry.metadata, entry.default
    text = facts["help"].replace("%", "%%")
    if hint is bool:
        return {"action": "store_true", "help": f"{text} (default: off)"}
    settings: dict[str, Any] = {"type": _value_type(hint), "metavar": facts["metavar"]}
    if facts["choices"]:
        settings["choices"] = facts["choices"]
    if entry.name == "rrobin":
        settings |= {"nargs": "?", "const": "equal"}
    if entry.name == "betas":
        settings["nargs"] = 2
    if default is not None:
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
        text += f" (default: {shown})"
    return {**settings, "help": text}


def _value_type(hint: Any) -> Callable[[str], Any]:
    options = {part for part in (typing.get_args(hint) or (hint,)) if part is not type(None)}
    if tuple[str, ...] in options:
        return _names
    for kind in (int, float, str):
        if kind in options:
            return kind
    raise AssertionError(hint)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def parse(argv: Sequence[str]) -> RunConfig:
    """Flags to a configuration whose files are located. Raises InputError."""
    given = vars(make_parser().parse_args(argv))
    mode = given.pop("fine_tune_mode", None)
    if mode and given.setdefault("option", _MODES[mode]) != _MODES[mode]:
        raise InputError(f"--option {given['option']} contradicts --fine-tune-mode {mode}")
    if "betas" in given:
        given["betas"] = tuple(given["betas"])
    config = RunConfig(**given)
    refuse_idle_flags(config, given)
    return locate(config, given)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the main job; returns the exit code."""
    set_up_logging()
    stop = StopRequest()
    stop.install()
    try:
        run(parse(sys.argv[1:] if argv is None else argv), stop)
        return 0
    except InputError as error:
        log.error("error: %s", error)
        return 2
    except torch.OutOfMemoryError as error:
        log.error("error: out of device memory (%s); lower --batch_size", _first_line(error))
    except (RunError, OSError) as error:
        log.error("error: %s", error)
    except Stopped as error:
        log.error("stopped by %s; the same command with --resume goes on", error)
        return 128 + error.signum
    return 1


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]

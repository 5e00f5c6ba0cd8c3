"""The command line of the main job: flags to a `RunConfig` whose files are located."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from minbert.finetune.config import RunConfig
from minbert.finetune.flags import TRAINING
from minbert.finetune.identity import DATA_PLACES, OUTPUTS
from minbert.finetune.inputs import locate
from minbert.finetune.job import run
from minbert.finetune.presets import with_presets
from minbert.regularizers import registry
from minbert.support.command import run_command
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.flags import OneLineParser, add_flags, refuse_idle, shown
from minbert.support.signals import StopRequest
from minbert.tasks.registry import COURSE_TASKS, TASKS
from minbert.training import group
from minbert.training.repeating import add_like, with_earlier

_MODES = {"last-linear-layer": "pretrain", "full-model": "finetune"}

_TOGETHER = [f"{TASKS[name].subject} ({name})" for name in COURSE_TASKS]
_ALONE = next(name for name in TASKS if name not in COURSE_TASKS)
_SCRIPT = "python multitask_classifier.py"
_DESCRIPTION = f"""\
Fine-tune BERT on {", ".join(_TOGETHER)},
score the dev sets, and write the course's prediction files. Typical:

  python multitask_classifier.py --option finetune --rrobin
  python multitask_classifier.py --option finetune --smart --rrobin

A single task, with prediction files of its own:

  python multitask_classifier.py --option finetune --tasks {_ALONE}
"""


def make_parser() -> OneLineParser:
    """One flag a field of RunConfig, in its groups; only flags that were typed are stored."""
    called = sys.argv[0] if sys.argv[0].startswith("minbert ") else _SCRIPT
    parser = OneLineParser(
        prog="multitask_classifier.py",
        usage=f"{called} --option {{pretrain,finetune}} [flags]",
        description=_DESCRIPTION.replace(_SCRIPT, called),
    )
    groups = add_flags(parser, RunConfig)
    groups[TRAINING].add_argument(
        "--fine-tune-mode",
        choices=tuple(_MODES),
        help="the 2024 handout's spelling of --option: last-linear-layer is pretrain, "
        "full-model is finetune",
    )
    add_like(parser)
    return parser


def parse(argv: Sequence[str]) -> RunConfig:
    """Flags to a configuration whose files are located. Raises InputError."""
    parser = make_parser()
    typed = vars(parser.parse_args(argv))
    given = with_earlier(typed, parser, RunConfig, _not_repeated(typed))
    mode = given.pop("fine_tune_mode", None)
    if mode and given.setdefault("option", _MODES[mode]) != _MODES[mode]:
        raise InputError(f"--option {given['option']} contradicts --fine-tune-mode {mode}")
    config = RunConfig(**with_presets(given))
    refuse_idle(config, typed)
    if config.stdpp:
        twice = "" if "epochs" in given else ", twice the epochs"
        log.info("--stdpp: --warmup %g --schedule %s%s", config.warmup, config.schedule, twice)
    if preset := registry.preset(config.compat):
        log.info("--compat %s: %s", config.compat, " ".join(_in_force(config, preset)))
    located = locate(config, given)
    _explain_defaults(located, given)
    return located


def _explain_defaults(config: RunConfig, given: Mapping[str, Any]) -> None:
    """Say what the course's defaults leave untrained, where they were not chosen."""
    if "option" not in given:
        log.info("without --option: the heads train, the encoder does not; try --option finetune")
    if not {"rrobin", "tasks", "task_file"} & given.keys():
        idle = ", ".join(n for n in config.evaluated_tasks if n not in config.trained_tasks)
        alone = ", ".join(config.trained_tasks)
        log.info("without --rrobin: %s alone trains, and not %s; try --rrobin", alone, idle)


def _not_repeated(typed: Collection[str]) -> tuple[str, ...]:
    """The settings that --like leaves out: where outputs go, and files where others are typed."""
    places = DATA_PLACES if "data_dir" in typed else ()
    return ("output_dir", "resume", *OUTPUTS, *places)


def _in_force(config: RunConfig, preset: Collection[str]) -> Iterator[str]:
    """The flags that --compat set, or that were typed in their place, where their method is on."""
    for name in preset:
        value, (switch, *_) = (
            getattr(config, name),
            config.__dataclass_fields__[name].metadata["acts"],
        )
        if switch.holds(config):
            yield f"--{name}" if value is True else f"--{name} {shown(value)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the main job; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    return run_command(lambda stop: _run(arguments, stop))


def _run(arguments: Sequence[str], stop: StopRequest) -> None:
    with group.joined():
        run(parse(arguments), stop)

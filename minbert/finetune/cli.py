"""The command line of the main job: flags to a `RunConfig` whose files are located."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from minbert.finetune.config import RunConfig
from minbert.finetune.flags import TRAINING
from minbert.finetune.identity import DATA_PLACES, OUTPUTS, completed
from minbert.finetune.inputs import locate
from minbert.finetune.job import run
from minbert.finetune.presets import with_presets
from minbert.regularizers import registry
from minbert.support.command import run_command
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.flags import OneLineParser, add_flags, refuse_idle, shown
from minbert.support.signals import StopRequest
from minbert.tasks import xnli
from minbert.tasks.glue import GLUE
from minbert.tasks.registry import COURSE_TASKS, TASKS
from minbert.tasks.task_file import read
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
    left_out = partial(_not_repeated, typed)
    given = with_earlier(typed, parser, RunConfig, left_out, completed)
    if {"glue_dir", "xnli_dir"} & typed.keys() and "task_file" not in typed:
        given["task_file"] = _without_benchmarks(given.get("task_file"))
    mode = given.pop("fine_tune_mode", None)
    if mode and given.setdefault("option", _MODES[mode]) != _MODES[mode]:
        raise InputError(f"--option {given['option']} contradicts --fine-tune-mode {mode}")
    filled = with_presets(given)
    config = RunConfig(**filled)
    refuse_idle(config, typed)
    if config.stdpp:
        twice = "" if "epochs" in given else ", twice the epochs"
        log.info("--stdpp: --warmup %g --schedule %s%s", config.warmup, config.schedule, twice)
    if config.recipe:
        others = given.keys() | registry.preset(config.compat).keys()
        _explain_recipe(config, [name for name in filled if name not in others])
    if preset := registry.preset(config.compat):
        log.info("--compat %s: %s", config.compat, " ".join(_in_force(config, preset)))
    # a data folder that --like repeats need not do anything: that run's files are named
    located = locate(config, given.keys() - {"data_dir"} | typed.keys())
    _explain_defaults(located, given)
    return located


def _without_benchmarks(sources: Sequence[str] | None) -> tuple[str, ...] | None:
    """The tasks that --like repeats, without those that are read from the folder typed now."""
    names = {source: read(source).name for source in sources or ()}
    own = (s for s, name in names.items() if name not in GLUE and not name.startswith(xnli.PREFIX))
    return tuple(own) or None


def _explain_recipe(config: RunConfig, preset: Collection[str]) -> None:
    """Say what --recipe stands for beside what was typed: the flags that it has set."""
    set_by_it = {name: getattr(config, name) for name in preset}
    words = " ".join(f"--{name} {shown(value)}" for name, value in set_by_it.items())
    log.info("--recipe %s: %s", config.recipe, words)


def _explain_defaults(config: RunConfig, given: Mapping[str, Any]) -> None:
    """Say what the course's defaults leave untrained, where they were not chosen."""
    if "option" not in given:
        log.info("without --option: the heads train, the encoder does not; try --option finetune")
    if not {"rrobin", "tasks", "task_file"} & given.keys():
        idle = ", ".join(n for n in config.evaluated_tasks if n not in config.trained_tasks)
        alone = f"{', '.join(config.trained_tasks)} alone trains"
        others = f", and not {idle}" if idle else ""
        log.info("without --rrobin: %s%s; try --rrobin", alone, others)


def _not_repeated(typed: Collection[str], run: Mapping[str, Any]) -> tuple[str, ...]:
    """The settings of an earlier run that --like leaves out.

    They are where outputs go, data files where another folder is typed, and those it never read.
    """
    read = run.get("sha256", DATA_PLACES)
    unread = [name for name in DATA_PLACES if name != "data_dir" and name not in read]
    return ("output_dir", "resume", *OUTPUTS, *(DATA_PLACES if "data_dir" in typed else unread))


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
        run(parse(arguments), stop, leave_report)


def leave_report(*outcome: Any) -> None:
    """Write the run's report.html."""
    # imported late: --help and wrong flags need not wait for matplotlib
    from minbert.finetune.report import page

    page.leave(*outcome)

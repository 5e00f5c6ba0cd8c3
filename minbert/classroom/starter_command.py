"""`python -m minbert.classroom starter FOLDER`: a starter with holes, in a new folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minbert.classroom.steps import LEVELS, steps_of
from minbert.support.command import run_command, show
from minbert.support.flags import OneLineParser, check_values, flag, parser_for

_DESCRIPTION = """\
Write a starter for students into a new folder: this package's own code with the bodies of the
assigned functions emptied, a README of the assignment in steps, a test for each step, the sample
data and the bundled encoder.

  python -m minbert.classroom starter FOLDER
  python -m minbert.classroom starter FOLDER --holes attention
"""


@dataclass(frozen=True)
class StarterConfig:
    """What the starter leaves for students to write."""

    holes: str = flag(
        "course",
        "the assignment",
        "what students write: attention, attention alone; course, what the course's starter leaves "
        "open; everything, also the losses, the training step, SMART and R3F",
        choices=LEVELS,
    )

    def __post_init__(self) -> None:
        check_values(self)


def make_parser() -> OneLineParser:
    """Return the parser: the folder, and one flag for each field of the config."""
    parser = parser_for(
        StarterConfig,
        prog="python -m minbert.classroom starter",
        usage="%(prog)s FOLDER [flags]",
        description=_DESCRIPTION,
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="the folder to be made")
    return parser


def _run(argv: Sequence[str] | None) -> None:
    given = vars(make_parser().parse_args(argv))
    folder = given.pop("folder")
    config = StarterConfig(**given)
    from minbert.classroom.starter import make_starter  # imported late, as it loads torch

    make_starter(folder, config.holes)
    steps = steps_of(config.holes)
    holes = sum(len(step.holes) for step in steps)
    points = sum(step.points for step in steps)
    show(
        f"{folder}/: {len(steps)} steps, {holes} functions to write, {points} points; see README.md"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command(lambda _stop: _run(argv), if_stopped="nothing was written")

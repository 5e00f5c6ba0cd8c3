"""The command `python -m minbert.export`: a finished run as a folder that another library loads."""

import sys
from collections.abc import Sequence
from pathlib import Path

from minbert.export.config import ExportConfig
from minbert.export.export import export
from minbert.export.forms import SENTENCES, TRANSFORMERS
from minbert.support.command import run_command, show
from minbert.support.flags import OneLineParser, parser_for
from minbert.support.signals import StopRequest

_DESCRIPTION = f"""\
Write a finished run as a folder that another library loads. RUN is its folder.

  python -m minbert.export RUN FOLDER --to {TRANSFORMERS}
  python -m minbert.export RUN FOLDER --to {SENTENCES}
"""


def make_parser() -> OneLineParser:
    """Return the parser: the run, the new folder, and one flag for each field of ExportConfig."""
    parser = parser_for(
        ExportConfig,
        prog="python -m minbert.export",
        usage="%(prog)s RUN FOLDER --to LIBRARY [flags]",
        description=_DESCRIPTION,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run's folder")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="the folder to be made")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""

    def work(_stop: StopRequest) -> None:
        given = vars(make_parser().parse_args(argv))
        run, folder = given.pop("run"), given.pop("folder")
        config = ExportConfig(**given)
        for written in export(run, folder, str(config.to), config.task):
            show(f"{written}/")

    return run_command(work, if_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())

"""`python -m minbert.classroom COMMAND`: a course's assignment and its marks, from this code."""

import sys
from collections.abc import Sequence

from minbert.support.dispatch import Commands, dispatch

COMMANDS: Commands = {
    "starter": ("minbert.classroom.starter_command", "write the starter for students"),
    "autograder": ("minbert.classroom.marking.autograder", "write the zip that Gradescope takes"),
    "mark": ("minbert.classroom.marking.command", "mark submissions on this machine"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the rest of the command line to a command; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    return dispatch("python -m minbert.classroom", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())

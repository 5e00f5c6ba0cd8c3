"""The console command `minbert COMMAND`, which `python -m minbert COMMAND` is too."""

import signal
import sys

from minbert.support.dispatch import Commands, dispatch

COMMANDS: Commands = {  # name -> the module whose main() it is, what it does
    "train": ("minbert.finetune.cli", "fine-tune BERT on the course's tasks or your own"),
    "predict": ("minbert.predict.__main__", "ask a finished run for labels and scores"),
    "grade": ("minbert.grade.__main__", "check and score prediction files"),
    "pretrain": ("minbert.pretrain.__main__", "train an encoder of your own on plain text"),
    "download": ("minbert.download.__main__", "fetch the course's files and published encoders"),
    "experiments": ("minbert.experiments.__main__", "tables, grids of runs, measurements"),
    "classroom": (
        "minbert.classroom.__main__",
        "make a course's assignment, and mark it",
    ),
    "export": ("minbert.export.__main__", "give a finished run to other libraries"),
}


def main() -> int:
    """Hand the rest of the command line to a command; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while torch is imported: no traceback
    arguments = sys.argv[1:]
    sys.argv[0] = " ".join(["minbert", *arguments[:1]])  # as a command's help calls it
    return dispatch("minbert", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())

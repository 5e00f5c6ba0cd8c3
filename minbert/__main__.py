"""The console command `minbert COMMAND`, which `python -m minbert COMMAND` is too."""

import signal
import sys
from collections.abc import Mapping
from importlib import import_module

from minbert.support.command import show
from minbert.support.console import log, set_up_logging

COMMANDS: Mapping[str, tuple[str, str]] = {  # name -> the module whose main() it is, what it does
    "train": ("minbert.finetune.cli", "fine-tune BERT on the course's tasks or your own"),
    "predict": ("minbert.predict.__main__", "ask a finished run for labels and scores"),
    "grade": ("minbert.grade.__main__", "check and score prediction files"),
    "pretrain": ("minbert.pretrain.__main__", "train an encoder of your own on plain text"),
    "download": ("minbert.download.__main__", "fetch the course's files and published encoders"),
    "experiments": ("minbert.experiments.__main__", "tables, grids of runs, measurements"),
    "classroom": ("minbert.classroom.__main__", "make a course's assignment from this code"),
    "export": ("minbert.export.__main__", "give a finished run to other libraries"),
}


def main() -> int:
    """Hand the rest of the command line to a command; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while torch is imported: no traceback
    asked, *arguments = sys.argv[1:] or [""]
    if asked in ("-h", "--help"):
        lines = "".join(f"\n  {name:<12}{what}" for name, (_, what) in COMMANDS.items())
        show(f"usage: minbert COMMAND [flags]\n\ncommands, each with --help:{lines}")
        return 0
    if asked not in COMMANDS:
        set_up_logging()
        what = f"{asked}: no such command" if asked else "no command given"
        log.error("error: %s; there are: %s (each with --help)", what, ", ".join(COMMANDS))
        return 2
    sys.argv[0] = f"minbert {asked}"  # as its help calls it
    code: int = import_module(COMMANDS[asked][0]).main(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())

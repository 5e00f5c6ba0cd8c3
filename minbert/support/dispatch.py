"""A command of several commands: it hands the rest of its command line to one of them."""

from collections.abc import Mapping, Sequence
from importlib import import_module

from minbert.support.command import show
from minbert.support.console import log, set_up_logging

Commands = Mapping[str, tuple[str, str]]  # name -> the module whose main() it is, what it does


def dispatch(name: str, commands: Commands, arguments: Sequence[str]) -> int:
    """Run the command that the first argument names; returns its exit code.

    `name` is what the user typed before it. The modules are imported only when they are needed.
    """
    asked = arguments[0] if arguments else ""
    if asked in ("-h", "--help"):
        width = max(map(len, commands)) + 2
        lines = "".join(f"\n  {each:<{width}}{what}" for each, (_, what) in commands.items())
        show(f"usage: {name} COMMAND [flags]\n\ncommands, each with --help:{lines}")
        return 0
    if asked not in commands:
        set_up_logging()
        what = f"{asked}: no such command" if asked else "no command given"
        log.error("error: %s; there are: %s (each with --help)", what, ", ".join(commands))
        return 2
    code: int = import_module(commands[asked][0]).main(arguments[1:])
    return code

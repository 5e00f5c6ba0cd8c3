"""The flags that several measuring commands have, and the main job that these flags describe."""

from typing import Any

from minbert.finetune.config import RunConfig
from minbert.support.flags import AT_LEAST_ONE, Limit, flag

SHORTEST = 5  # tokens of a text: [CLS], [SEP] and something between them


JSON, CSV = "all that was found, and on which machine", "the table, with all fields"
LONG_ENOUGH = Limit(lambda n: n >= SHORTEST, f"{SHORTEST} or more")


def numbers(default: str, group: str, help: str, least: int = 1) -> Any:
    """A flag that takes whole numbers, separated by blanks as in `default`."""
    limit = Limit(
        lambda texts: texts and all(text.isdecimal() and int(text) >= least for text in texts),
        f"whole numbers, {least} or more",
    )
    return flag(tuple(default.split()), group, help, limit=limit, metavar="N", several=True)


def count(default: int, group: str, help: str) -> Any:
    """A flag that takes a whole number from 1 on."""
    return flag(default, group, help, limit=AT_LEAST_ONE, metavar="N")


def file(help: str) -> Any:
    """A flag that names a file to write."""
    return flag(None, "files to write", help, metavar="FILE")


def main_job(config: Any, task: str, *names: str, **settings: Any) -> RunConfig:
    """The main job that fine-tunes on `task` alone, as a measuring command's `config` says.

    It takes data folder, device, precision and the settings `names` from `config`; `settings` are
    those that the command decides otherwise.
    """
    shared = ("data_dir", "device", "precision", *names)
    settings |= {name: getattr(config, name) for name in shared}
    return RunConfig(option="finetune", tasks=(task,), **settings)

"""Which rows of its files a run reads: settings of a run, or of a manifest, to a `Split`.

Whoever reads a run's rows, while it runs or after it, reads them here, so that all draw alike.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minbert.data.examples import Split
from minbert.data.reading import read_split
from minbert.tasks.task import Task, kind_of

_REST = "rest"
DECIDING = ("limit", "limit_rows", "limit_train", "limit_train_seed", "dev_rows")


def file_split(settings: Mapping[str, Any], split: str) -> str:
    """The split whose file holds the rows of `split`: its own, but for dev as the train rest."""
    return "train" if split == "dev" and settings["dev_rows"] == _REST else split


def dev_choice(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide which rows of a file are scored as dev."""
    every = settings["dev_rows"] == _REST
    return {name: settings[name] for name in (DECIDING if every else DECIDING[:2])}


def read_rows(
    settings: Mapping[str, Any], task: Task, split: str, path: Path, *, strict: bool = False
) -> Split:
    """The rows of `split` that a run with these settings uses, from the file at `path`.

    `path` is that of `file_split`. Raises InputError where nothing can be read.
    """
    of_file, limit = file_split(settings, split), settings["limit"]
    is_drawn = limit is not None and settings["limit_rows"] == "drawn"
    found = read_split(task, of_file, path, strict=strict, limit=None if is_drawn else limit)
    if is_drawn:
        found = found.drawn(limit)
    if kind_of(of_file) != "train" or settings["limit_train"] is None:
        return found
    draw = found.drawn if split == "train" else found.rest
    return draw(settings["limit_train"], settings["limit_train_seed"])

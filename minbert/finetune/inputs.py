"""Which files a run reads: named ones win, else what lies on disk decides."""

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from minbert.encoder.locate import encoder_folder
from minbert.finetune.config import Key, RunConfig
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.places import COURSE, SAMPLE
from minbert.tasks.registry import BUILT_IN, TASKS

_NAMED = 8  # labels


def locate(config: RunConfig, given: Collection[str]) -> RunConfig:
    """The configuration with every file it needs found. `given` holds the flags that were typed.

    Raises InputError where something is missing, or where some of the course's files are there
    and others are not: real and synthetic data are never mixed by default.
    """
    course = [key for key in config.read_keys if key[0] not in config.own_tasks]
    _check_own_files(config)
    found: dict[str, Any] = dict(_data_files(config, course, given))
    found["weights"] = str(encoder_folder(config.weights))
    return dataclasses.replace(config, **found)


def _data_files(
    config: RunConfig, course: Collection[Key], given: Collection[str]
) -> dict[str, str]:
    """The places of the course's files among those that the run needs."""
    needed = [f"{task}_{split}" for task, split in course]
    named = [key for key in needed if key in given]
    for key in named:
        if not Path(getattr(config, key)).is_file():
            raise InputError(f"--{key} {getattr(config, key)}: no such file")
    names = {key: Path(getattr(config, key)).name for key in needed if key not in given}
    if not names and "data_dir" in given:
        raise InputError("--data_dir would do nothing here: every file is named")
    if not names:
        log.info("data: the %d files named", len(config.read_keys))
        return {}
    folder, what = _data_folder(config, course)
    if missing := sorted(name for name in names.values() if not (folder / name).is_file()):
        raise InputError(
            f"{folder}/ lacks {', '.join(missing)}: put all the files this run needs there "
            "(python -m minbert.download --data fetches the course's into data/), "
            "name them with their flags, or point --data_dir elsewhere"
        )
    if named and folder == SAMPLE:
        raise InputError(
            f"--{named[0]} is named, and {', '.join(names)} would come from the synthetic sample: "
            "name these too, or give --data_dir the folder they are in"
        )
    also = f", and {len(named)} files named" if named else ""
    log.info("data: %s/ (%s)%s", folder, what, also)
    return {key: str(folder / name) for key, name in names.items()}


def _check_own_files(config: RunConfig) -> None:
    """Say which labels the user's own tasks have. Raise InputError where a file is not there."""
    for task, split in config.read_keys:
        own = config.own_tasks.get(task)
        if own is not None and not Path(own.files[split]).is_file():
            raise InputError(f"--task_file: {own.files[split]}, {split} of {task}: no such file")
    for name, own in config.own_tasks.items():
        if count := len(own.labels):
            some = ", ".join(own.labels[:_NAMED]) + ", ..." * (count > _NAMED)
            log.info("%s: %d labels: %s", name, count, some)


def _data_folder(config: RunConfig, needed_keys: Collection[Key]) -> tuple[Path, str]:
    if config.data_dir is not None:
        if not Path(config.data_dir).is_dir():
            raise InputError(f"--data_dir {config.data_dir}: no such folder")
        return Path(config.data_dir), "as --data_dir says"
    needed = {TASKS[task].files[split] for task, split in needed_keys}
    every = {name for task in BUILT_IN for name in TASKS[task].files.values()}
    # files that the run needs, or that the sample would stand in for
    places = [COURSE / name for name in every if name in needed or (SAMPLE / name).is_file()]
    if any(path.is_file() or path.is_symlink() for path in places):  # a link may lead nowhere
        return COURSE, "the course's files"
    return SAMPLE, "the bundled synthetic sample: its scores say nothing about the real tasks"

"""Where a run's files come from: named ones win, else what lies on disk decides."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from minbert.encoder import hub, weights
from minbert.finetune.config import COURSE_RATES, KNOWN_TASKS, RunConfig
from minbert.support.runtime import InputError, log

_HERE = Path(__file__).resolve().parents[2] / "data"  # bundled beside the package
SAMPLE = _HERE / "sample"
BUNDLED_ENCODER = _HERE / "minbert-mini"
RECOMMENDED = "recommended.json"
RECOMMENDED_TYPES = {
    "lr": float,
    "head_lr": float,
    "epochs": int,
    "batch_size": int,
    "pooling": str,
}
COURSE = Path("data")
COURSE_ENCODER = COURSE / "bert-base-uncased"


def locate(config: RunConfig, given: Collection[str]) -> RunConfig:
    """The configuration with every file it needs found. `given` holds the flags that were typed.

    Raises InputError where something is missing, or where some of the course's files are there
    and others are not: real and synthetic data are never mixed by default.
    """
    found: dict[str, Any] = dict(_data_files(config, given))
    found["weights"] = str(encoder_folder(config.weights))
    return dataclasses.replace(config, **found)


def recommended(folder: Path, option: str) -> dict[str, Any]:
    """What an encoder's folder recommends of learning rates, epochs, batch size and pooling.

    Its `recommended.json` has them under the name of the option. Raises InputError, naming the
    file, for one that cannot be read so, whichever option it is about.
    """
    path = folder / RECOMMENDED
    if not (path.exists() or path.is_symlink()):
        return {}
    try:
        options = _object(json.loads(path.read_text(encoding="utf-8")), COURSE_RATES, "the file")
        advice = {name: _advice(values, name) for name, values in options.items()}
    except (OSError, ValueError, OverflowError, RecursionError, InputError) as error:
        raise InputError(f"{path}: no recommendation can be read ({error})") from error
    return advice.get(option, {})


def _advice(values: Any, option: str) -> dict[str, Any]:
    """What is recommended for an option, checked as the flags of these names would be."""
    advice = _object(values, RECOMMENDED_TYPES, option)
    for name, value in advice.items():
        kind = RECOMMENDED_TYPES[name]
        if type(value) is not kind and (kind, type(value)) != (float, int):
            raise ValueError(f"{name} is {value!r}, which --{name} does not take")
        advice[name] = kind(value)
    if "head_lr" in advice and ("lr" not in advice or option != "finetune"):
        raise ValueError("head_lr stands only beside the lr of finetune that it goes with")
    RunConfig(**advice)  # within the flags' limits
    return advice


def _object(values: Any, known: Collection[str], what: str) -> dict[str, Any]:
    """A copy of a JSON object with no other keys than `known`."""
    if not isinstance(values, dict):
        raise ValueError(f"{what} is no object {{...}}")
    if unknown := sorted(values.keys() - set(known)):
        raise ValueError(f"{unknown[0]} is none of {', '.join(known)}")
    return dict(values)


def _data_files(config: RunConfig, given: Collection[str]) -> dict[str, str]:
    needed = [f"{task}_{split}" for task in config.evaluated_tasks for split in ("dev", "test")]
    needed += [f"{task}_train" for task in config.trained_tasks]
    named = [key for key in needed if key in given]
    for key in named:
        if not Path(getattr(config, key)).is_file():
            raise InputError(f"--{key} {getattr(config, key)}: no such file")
    names = {key: Path(getattr(config, key)).name for key in needed if key not in given}
    if not names and "data_dir" in given:
        raise InputError("--data_dir would do nothing here: every file is named")
    if not names:
        log.info("data: the %d files named", len(needed))
        return {}
    folder, what = _data_folder(config)
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


def _data_folder(config: RunConfig) -> tuple[Path, str]:
    if config.data_dir is not None:
        if not Path(config.data_dir).is_dir():
            raise InputError(f"--data_dir {config.data_dir}: no such folder")
        return Path(config.data_dir), "as --data_dir says"
    defaults = {entry.name: str(entry.default) for entry in dataclasses.fields(RunConfig)}
    course = [
        Path(defaults[f"{task}_{split}"])
        for task in KNOWN_TASKS
        for split in ("train", "dev", "test")
    ]
    if any(path.is_file() or path.is_symlink() for path in course):  # a link may lead nowhere
        return COURSE, "the course's files"
    return SAMPLE, "the bundled synthetic sample: its scores say nothing about the real tasks"


def encoder_folder(named: str | None) -> Path:
    """The folder of an encoder given by folder or name, else of the one that lies on disk.

    Raises InputError where there is none.
    """
    if named is not None and os.path.isdir(named):  # noqa: PTH112  Path's raises on a long name
        folder, why = Path(named), "as --weights says"
    elif named is not None:
        folder, why = _published(named)
    elif COURSE_ENCODER.is_dir() or COURSE_ENCODER.is_symlink():  # which may lead nowhere
        folder, why = COURSE_ENCODER, "found there"
    elif BUNDLED_ENCODER.is_dir():
        folder, why = BUNDLED_ENCODER, "the bundled encoder"
    else:
        raise InputError(
            f"no encoder: neither {COURSE_ENCODER}/ nor {BUNDLED_ENCODER}/ is there; fetch the "
            "first with python -m minbert.download --weights bert-base-uncased, or "
            "give --weights a folder with config.json, vocab.txt and model.safetensors"
        )
    log.info("weights: %s/ (%s)", folder, why)
    return folder


def _published(named: str) -> tuple[Path, str]:
    """The local copy of a checkpoint given by its name on the hub, and what it is."""
    try:
        wanted = hub.parse(named)
    except InputError as error:
        raise InputError(f"--weights {named}: no such folder") from error
    if wanted.pinned and COURSE_ENCODER.is_dir():
        return COURSE_ENCODER, f"{named}, found there"
    fetch = f"fetch it with: python -m minbert.download --weights {named}"
    folder = hub.cached(wanted)
    if folder is None:
        raise InputError(
            f"--weights {named}: no such folder, and no checkpoint of that name in the local "
            f"cache; {fetch}"
        )
    try:
        weights.check_folder(folder)
    except InputError as error:
        raise InputError(
            f"--weights {named}: the local copy is not whole ({error}); {fetch}"
        ) from error
    return folder, f"{wanted.name} at revision {folder.name}, from the local cache"

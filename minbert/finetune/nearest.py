"""The run that --resume most likely means, where none has the settings that were typed."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from minbert.finetune.config import ResolvedConfig, RunConfig
from minbert.finetune.identity import DATA_PLACES, INDIFFERENT, OUTPUTS, completed
from minbert.support.errors import InputError
from minbert.support.flags import shown
from minbert.support.locks import opened, try_lock
from minbert.training.record import as_json, read_manifest
from minbert.training.run_folder import MANIFEST

_SHOWN = 3  # settings that the message spells out

Differences = dict[str, tuple[Any, Any]]  # a setting's name -> its value there and here


def refuse_another(config: ResolvedConfig, folder: Path) -> None:
    """Raise InputError for --resume where `folder` holds no run, but folders beside it do.

    It names the nearest run, by the number of settings that differ, and these settings. A run that
    is at work is passed over.
    """
    if (folder / MANIFEST).exists():
        return
    nearest = min(_others(config, folder.parent), key=lambda one: len(one[1]), default=None)
    if nearest is None:
        return
    place, differences = nearest
    if not differences:
        raise InputError(
            f"--resume: {folder} holds no run; {place} has these settings, so go on with it by "
            f"--output_dir {place} --resume"
        )
    words = [f"{n} {_typed(there)}, not {_typed(here)}" for n, (there, here) in differences.items()]
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    raise InputError(
        f"--resume: no run here has these settings; the nearest, {place}, has "
        f"{'; '.join(words[:_SHOWN])}{more}. Go on with it by --like {place} --resume, or leave "
        "--resume out to begin a new run"
    )


def _others(config: ResolvedConfig, runs: Path) -> Iterator[tuple[Path, Differences]]:
    """The runs in a folder that may be meant, each with the settings that differ."""
    for path in sorted(runs.glob(f"*/{MANIFEST}")):
        with contextlib.suppress(InputError, OSError, KeyError, AttributeError):  # no manifest
            differences = _differences(config, completed(read_manifest(path)["config"]))
            if ".old" not in path.parent.name and not _is_at_work(path.parent):
                yield path.parent, differences


def _differences(config: ResolvedConfig, there: Mapping[str, Any]) -> Differences:
    """The settings that differ; of the data's places only the first one, as they go together."""
    here, fields = as_json(dataclasses.asdict(config)), RunConfig.__dataclass_fields__
    found = {
        name: (there.get(name, fields[name].default), value)
        for name, value in here.items()
        if name not in (*INDIFFERENT, *OUTPUTS)
    }
    differing = {name: pair for name, pair in found.items() if pair[0] != pair[1]}
    for name in [name for name in DATA_PLACES if name in differing][1:]:
        del differing[name]
    return differing


def _is_at_work(folder: Path) -> bool:
    with opened(folder) as handle:
        return try_lock(handle) is False


def _typed(value: Any) -> str:
    """A value as a message shows it; a switch is on or off."""
    if value is None or isinstance(value, bool):
        return {None: "unset", True: "on", False: "off"}[value]
    return shown(tuple(value) if isinstance(value, list) else value)

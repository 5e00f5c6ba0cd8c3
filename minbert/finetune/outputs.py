"""The prediction files of a run: where they may be written, and what they hold."""

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minbert.data.batches import Dataset
from minbert.finetune.config import Key, ResolvedConfig, RunConfig
from minbert.finetune.identity import input_files
from minbert.support import durable_files
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.outputs import refusing_unwritable
from minbert.tasks import predictions
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Array
from minbert.training.record import read_manifest
from minbert.training.run_folder import MANIFEST

_QUICK = f"{predictions.FOLDER}-quick"


def out_of_the_way(config: RunConfig, folder: Path) -> RunConfig:
    """The configuration with a folder for predictions in which they replace nobody else's.

    A quick look (`--limit`, `--max_steps`) leaves the files that are in the default folder, and
    writes beside it. Where the run in `folder` goes on, it writes where it did.
    """
    looks = [f"--{name}" for name in ("limit", "max_steps") if getattr(config, name) is not None]
    unnamed = [key for key in config.predicted_keys if config.named_out(*key) is None]
    earlier = any(Path(config.out_file(*key)).exists() for key in unnamed)
    if config.predictions_dir != predictions.FOLDER or not (looks and earlier):
        return config
    if config.resume and _wrote_to(folder) == predictions.FOLDER:
        return config
    what = "%s/ has the files of an earlier run: a quick look (%s) leaves them, and writes into %s/"
    log.info(what, predictions.FOLDER, " ".join(looks), _QUICK)
    beside: dict[str, Any] = {"predictions_dir": _QUICK}
    return dataclasses.replace(config, **beside)


def _wrote_to(folder: Path) -> str | None:
    """The folder for predictions of the run in a folder; None where there is no run."""
    with contextlib.suppress(InputError, KeyError, TypeError):
        return str(read_manifest(folder / MANIFEST)["config"]["predictions_dir"])
    return None


def check(config: ResolvedConfig, folder: Path) -> None:
    """Raise InputError now, not after a night of training, for a prediction file that cannot be.

    It may replace nothing but predictions: no input, no other file, and not the predictions of a
    whole run by those of a run over --limit rows.
    """
    inputs = {path.resolve() for path in input_files(config).values()}
    taken: dict[Path, str] = {}
    for task, split in config.predicted_keys:
        own = task in config.own_tasks  # which have no flags for their files
        path = Path(config.out_file(task, split))
        key = "--predictions_dir" if own else f"--{task}_{split}_out"
        place = path.resolve()
        if place in taken:
            raise InputError(f"{key} {path}: {taken[place]} names the same file")
        if place in inputs:
            raise InputError(f"{key} {path}: the run reads this file")
        if folder.resolve() in place.parents:
            raise InputError(f"{key} {path}: lies in the run's own folder {folder}")
        taken[place] = key
        _check_target(path, key, config.limit)


def _check_target(path: Path, key: str, limit: int | None) -> None:
    if not path.name:
        raise InputError(f"{key} {path}: names no file")
    with refusing_unwritable(f"{key} {path}"):
        durable_files.check_writable(path)
    if not path.exists():
        return
    if path.is_symlink() or not path.is_file() or not predictions.is_prediction_file(path):
        raise InputError(f"{key} {path}: holds something else than predictions; name another file")
    is_quick = path.parent == Path(_QUICK)  # whose files are those of other quick looks
    if limit and not is_quick and (rows := predictions.count_rows(path)) > limit:
        raise InputError(
            f"{path} holds {rows} predictions and --limit {limit} would leave fewer in their "
            f"place: move it away, or name another place with --predictions_dir or {key}"
        )


def rendered(
    config: ResolvedConfig, datasets: Mapping[Key, Dataset], predicted: Mapping[Key, Array]
) -> dict[Path, str]:
    """The text of every prediction file."""
    return {
        Path(config.out_file(name, split)): predictions.render(
            TASKS[name], datasets[name, split].ids, predicted[name, split]
        )
        for name, split in config.predicted_keys
    }

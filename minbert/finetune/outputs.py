"""The prediction files of a run: where they may be written, and what they hold."""

from collections.abc import Mapping
from pathlib import Path

from minbert.data.batches import Dataset
from minbert.finetune.config import Key, ResolvedConfig
from minbert.finetune.identity import input_files
from minbert.support import durable_files
from minbert.support.errors import InputError
from minbert.support.outputs import refusing_unwritable
from minbert.tasks import predictions
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Array


def check(config: ResolvedConfig, folder: Path) -> None:
    """Raise InputError now, not after a night of training, for a prediction file that cannot be.

    It may replace nothing but predictions: no input, no other file, and not the predictions of a
    whole run by those of a run over its first --limit rows.
    """
    inputs = {path.resolve() for path in input_files(config).values()}
    taken: dict[Path, str] = {}
    for task, split in config.scored_keys:
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
    if limit and (rows := predictions.count_rows(path)) > limit:
        raise InputError(
            f"{path} holds {rows} predictions and --limit {limit} would leave fewer in their "
            f"place: move it away, or name another file with {key}"
        )


def rendered(
    config: ResolvedConfig, datasets: Mapping[Key, Dataset], predicted: Mapping[Key, Array]
) -> dict[Path, str]:
    """The text of every prediction file."""
    return {
        Path(config.out_file(name, split)): predictions.render(
            TASKS[name], datasets[name, split].ids, values
        )
        for (name, split), values in predicted.items()
    }

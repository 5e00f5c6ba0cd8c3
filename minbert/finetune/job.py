"""One run, from a located configuration to prediction files."""

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from minbert.data.batches import Batch
from minbert.finetune.build import Parts, build
from minbert.finetune.config import Key, RunConfig
from minbert.finetune.evaluate import predict, score
from minbert.finetune.identity import input_files, input_hashes, run_name, settings
from minbert.finetune.recommended import RECOMMENDED, recommended
from minbert.model import MultitaskBert
from minbert.regularizers import registry
from minbert.support import durable_files
from minbert.support.command import run_command
from minbert.support.console import log
from minbert.support.device import pick_device
from minbert.support.errors import InputError
from minbert.support.outputs import refusing_unwritable
from minbert.support.signals import StopRequest
from minbert.tasks import predictions
from minbert.tasks.mixing import WITH_ROUNDS
from minbert.tasks.registry import COURSE_TASKS, TASKS, overall
from minbert.tasks.task import Array
from minbert.training import ranks
from minbert.training.checkpoint import CheckpointStore
from minbert.training.plan import Trainee, TrainingObjective
from minbert.training.progress import Progress
from minbert.training.record import new_manifest, recorded
from minbert.training.run_folder import BAD_ROWS, MANIFEST, held
from minbert.training.session import load_best, starting_point, train
from minbert.training.shared import SharedObjective


@dataclass(frozen=True)
class Result:
    """What a finished run leaves: its folder, the best epoch's dev scores, the manifest."""

    folder: Path
    scores: Mapping[str, float]
    manifest: Mapping[str, Any]


def run(config: RunConfig, stop: StopRequest) -> Result:
    """Train, score dev, and write the prediction files of every evaluated task.

    The files of `config` are located. Raises InputError, RunError or Stopped.
    """
    began = time.monotonic()
    advice = recommended(Path(str(config.weights)), config.option)
    followed = list(config.followed(advice))
    config = config.resolved(advice)
    device = pick_device(config.device, require_gpu=config.use_gpu)
    ranks.check(config.ranks, device)
    folder = Path(config.output_dir or Path("runs") / run_name(config))
    _check_outputs(config, folder)
    with held(folder), ranks.started(config.ranks, device, partial(_follow, config, folder)):
        _announce(config, followed, str(device), folder)
        parts, trainee, facts, progress = _begun(config, folder, device, stop)
        manifest = new_manifest(config, facts["sha256"], device)
        with recorded(folder / MANIFEST, manifest, progress, began):
            durable_files.write_text(folder / BAD_ROWS, _bad_rows(parts))
            train(folder, trainee, facts, progress, stop)
            ranks.wait()  # the best model is on disk
            with stop.immediate():
                predicted = _predict(config, parts, progress, folder)
            scores = _scores(config, parts, predicted)
            manifest["best_epoch"], manifest["dev"] = progress.best_epoch, scores
            manifest["padded_per_real_token"] = padding_ratios(progress)
            with stop.deferred():  # all files and the mark that the run is done, or none
                durable_files.write_texts(_rendered(config, parts, predicted))
                CheckpointStore(folder).finish({**facts, **dataclasses.asdict(progress)})
    print(summary(config, parts.trained, scores, progress))
    for line in registry.remarks(config, parts.model):
        print(line)
    return Result(folder, scores, manifest)


def _begun(
    config: RunConfig, folder: Path, device: torch.device, stop: StopRequest
) -> tuple[Parts, Trainee[MultitaskBert, Batch], dict[str, Any], Progress]:
    """A run's parts, also as what `fit()` takes, what decides it, and where it begins."""
    parts = build(config, device)
    facts = {"settings": settings(config), "sha256": input_hashes(config)}
    objective: TrainingObjective[MultitaskBert, Batch] = parts.objective
    if ranks.size() > 1:
        objective = SharedObjective(objective, stop)
    trainee = Trainee(parts.model, objective, parts.optimizer, parts.plan)
    with ranks.first_alone():  # it moves an earlier run aside
        progress = starting_point(folder, trainee, facts, go_on=config.resume)
    return parts, trainee, facts, progress


def _follow(config: RunConfig, folder: Path) -> int:
    """The run as ranks other than the first have it: the same work, and nothing written."""

    def work(stop: StopRequest) -> None:
        device = pick_device(config.device)
        parts, trainee, facts, progress = _begun(config, folder, device, stop)
        train(folder, trainee, facts, progress, stop)
        ranks.wait()
        _predict(config, parts, progress, folder)

    return run_command(work)


def _check_outputs(config: RunConfig, folder: Path) -> None:
    """Fail now, not after a night of training, where a prediction file could not be written.

    And write over nothing but predictions: no input, no other file, not the predictions of a whole
    run by one over its first --limit rows.
    """
    inputs = {path.resolve() for path in input_files(config).values()}
    taken: dict[Path, str] = {}
    for task, split in config.scored_keys:
        path, key = Path(config.out_file(task, split)), f"--{task}_{split}_out"
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


def _announce(config: RunConfig, followed: Sequence[str], device: str, folder: Path) -> None:
    trained, scored = ", ".join(config.trained_tasks), ", ".join(config.evaluated_tasks)
    order = "in turn" if config.rrobin in WITH_ROUNDS else "in random order"
    turns = f" {order} ({config.rrobin})" if config.rrobin else ""
    log.info("%s on %s%s; scored on %s", config.option, trained, turns, scored)
    heads = "" if config.head_lr is None else f", {config.head_lr:g} for the heads"
    log.info(
        "learning rate %g%s; %d epochs, batch size %d, pooling %s; device %s; seed %d; "
        "run folder %s",
        *(config.lr, heads, config.epochs, config.batch_size, config.pooling),
        *(device, config.seed, folder),
    )
    if followed:
        log.info("%s: as %s in the encoder's folder says", ", ".join(followed), RECOMMENDED)
    if config.steps_per_task == "summed":
        log.info("an optimizer step for every round, on the sum of its tasks' losses")
    if config.limit:
        log.warning("--limit %d: the predictions are not for handing in", config.limit)


def _bad_rows(parts: Parts) -> str:
    return "".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in parts.bad_rows)


def _predict(config: RunConfig, parts: Parts, progress: Progress, folder: Path) -> dict[Key, Array]:
    """Predictions of the best epoch's model: those on dev as they were scored, test anew."""
    kept = load_best(folder, parts.model, progress)
    predicted: dict[Key, Array] = {}
    for name in config.evaluated_tasks:
        test = parts.datasets[name, "test"]
        predicted[name, "dev"] = kept[name].numpy()
        predicted[name, "test"] = predict(parts.model, test, f"test {name}")
    return predicted


def _scores(config: RunConfig, parts: Parts, predicted: Mapping[Key, Array]) -> dict[str, float]:
    return {
        name: score(parts.datasets[name, "dev"], predicted[name, "dev"])
        for name in config.evaluated_tasks
    }


def _rendered(config: RunConfig, parts: Parts, predicted: Mapping[Key, Array]) -> dict[Path, str]:
    """The text of every prediction file."""
    return {
        Path(config.out_file(name, split)): predictions.render(
            TASKS[name], parts.datasets[name, split].ids, values
        )
        for (name, split), values in predicted.items()
    }


def padding_ratios(progress: Progress) -> dict[str, float]:
    """Tokens with padding over real ones, for every task whose texts went through the encoder."""
    return {task: padded / real for task, (real, padded) in progress.tokens.items()}


def summary(
    config: RunConfig, trained: Sequence[str], scores: Mapping[str, float], progress: Progress
) -> str:
    """The run's result as a table for stdout."""
    ratios = padding_ratios(progress)
    lines = [f"dev scores of the best epoch ({progress.best_epoch} of {len(progress.history)})"]
    for name, value in scores.items():
        remark = "" if name in trained else "  (not trained)"
        ratio = f"  {ratios[name]:.3f} padded tokens per real one" if name in ratios else ""
        lines.append(f"  {name:<7}{TASKS[name].metric_name:<10}{value:6.3f}{ratio}{remark}")
    if not config.single_task:
        course = {name: scores[name] for name in COURSE_TASKS}
        lines.append(f"  overall (2024) {overall(course):8.3f}")
        lines.append(f"  overall (2023) {sum(course.values()) / len(course):8.3f}")
    lines.append("predictions")
    lines += [f"  {config.out_file(name, split)}" for name, split in config.scored_keys]
    return "\n".join(lines)

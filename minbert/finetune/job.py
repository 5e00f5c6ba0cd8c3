"""One run, from a located configuration to prediction files."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from minbert.finetune import glue_zip, outputs
from minbert.finetune.build import Parts, build
from minbert.finetune.config import Key, ResolvedConfig, RunConfig
from minbert.finetune.evaluate import all_scores, predict
from minbert.finetune.identity import input_files, input_hashes, run_name, settings
from minbert.finetune.microbatches import SIZE
from minbert.finetune.recommended import RECOMMENDED, recommended
from minbert.regularizers import registry
from minbert.support import durable_files, untrusted
from minbert.support.command import show
from minbert.support.console import log
from minbert.support.device import pick_device
from minbert.support.signals import StopRequest
from minbert.tasks.metrics import DEGENERATE, is_degenerate
from minbert.tasks.mixing import WITH_ROUNDS
from minbert.tasks.registry import COURSE_TASKS, TASKS, overall
from minbert.tasks.task import Array, kind_of
from minbert.training import group
from minbert.training.checkpoint import CheckpointStore
from minbert.training.progress import Progress
from minbert.training.record import new_manifest, recorded
from minbert.training.run_folder import BAD_ROWS, MANIFEST, check_shared, held
from minbert.training.session import load_best, starting_point, train

Metrics = dict[str, dict[str, dict[str, float]]]  # task -> dev split -> metric -> score


@dataclass(frozen=True)
class Result:
    """What a finished run leaves: its folder, the best epoch's dev scores, the manifest."""

    folder: Path
    scores: Mapping[str, float]
    manifest: Mapping[str, Any]


def run(typed: RunConfig, stop: StopRequest) -> Result:
    """Train, score dev, and write the prediction files of every evaluated task.

    The files of `typed` are located. Raises InputError, RunError or Stopped. Where several ranks
    train together, all of them do this, and rank 0 alone writes.
    """
    began = time.monotonic()
    resume = typed.resume or group.restarts() > 0
    typed = dataclasses.replace(typed, ranks=group.wanted(typed.ranks), resume=resume)
    if typed.ranks > group.size():
        return group.launch(typed.ranks, partial(run, typed))
    recommendation = recommended(Path(str(typed.weights)), typed.option)
    taken = list(typed.taken_from(recommendation))
    config = typed.resolved(recommendation)
    device = pick_device(config.device, require_gpu=config.use_gpu)
    group.take(device)
    folder = Path(config.output_dir or Path("runs") / run_name(config))
    with contextlib.ExitStack() as writing:
        if group.rank() == 0:
            outputs.check(config, folder)
            writing.enter_context(held(folder))
        check_shared(folder)
        _announce(config, taken, str(device), folder)
        parts, facts, progress = _begin(config, folder, device)
        glue_zip.check(config, parts.datasets)
        manifest = new_manifest(config, facts["sha256"], device)
        if group.rank() == 0:
            writing.enter_context(recorded(folder / MANIFEST, manifest, progress, began))
            durable_files.write_text(folder / BAD_ROWS, _bad_rows(parts))
        train(folder, parts.trainee, facts, progress, stop)
        group.wait()  # the best model is on disk
        with stop.immediate():
            predicted = _predict(config, parts, progress, folder)
        metrics = _metrics(config, parts, predicted)
        manifest |= _results(parts, predicted, metrics, progress)
        if group.rank() == 0:
            with stop.deferred():  # all files and the mark that the run is done, or none
                durable_files.write_texts(outputs.rendered(config, parts.datasets, predicted))
                glue_zip.write(config, parts.datasets, predicted)
                CheckpointStore(folder).finish({**facts, **dataclasses.asdict(progress)})
    if group.rank() == 0:
        _show(config, parts, manifest, progress)
    return Result(folder, manifest["dev"], manifest)


def _begin(
    config: ResolvedConfig, folder: Path, device: torch.device
) -> tuple[Parts, dict[str, Any], Progress]:
    """The parts of the run, the facts that decide its result, and the step where it begins."""
    with untrusted.unchanged(input_files(config).values()):  # what is hashed is what is used
        parts, sha256 = build(config, device), input_hashes(config)
    facts = {"settings": settings(config), "sha256": sha256}
    with group.first_alone():  # it moves an earlier run aside
        progress = starting_point(folder, parts.trainee, facts, go_on=config.resume)
    return parts, facts, progress


def _announce(config: ResolvedConfig, taken: Sequence[str], device: str, folder: Path) -> None:
    trained, scored = ", ".join(config.trained_tasks), ", ".join(config.evaluated_tasks)
    order = "in turn" if config.rrobin in WITH_ROUNDS else "in random order"
    turns = f" {order} ({config.rrobin})" if config.rrobin else ""
    log.info("%s on %s%s; scored on %s", config.option, trained, turns, scored)
    heads = "" if config.head_lr is None else f", {config.head_lr:g} for the heads"
    length = f"{config.epochs} epochs, batch size {config.batch_size}, pooling {config.pooling}"
    rates = f"learning rate {config.lr:g}{heads}; {length}"
    log.info("%s; device %s; seed %d; run folder %s", rates, device, config.seed, folder)
    if taken:
        log.info("%s: as %s in the encoder's folder says", ", ".join(taken), RECOMMENDED)
    if config.steps_per_task == "summed":
        log.info("an optimizer step for every round, on the sum of its tasks' losses")
    if config.limit:
        log.warning("--limit %d: the predictions are not for handing in", config.limit)


def _bad_rows(parts: Parts) -> str:
    return "".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in parts.bad_rows)


def _predict(
    config: ResolvedConfig, parts: Parts, progress: Progress, folder: Path
) -> dict[Key, Array]:
    """The best epoch's predictions: on dev the ones that were scored, elsewhere new ones."""
    model = parts.trainee.model
    kept = load_best(folder, model, progress)
    return {
        (name, split): kept[name].numpy()
        if split == "dev"
        else predict(model, parts.datasets[name, split], f"{split} {name}")
        for name, split in config.scored_keys
    }


def _metrics(config: ResolvedConfig, parts: Parts, predicted: Mapping[Key, Array]) -> Metrics:
    """Every metric of every dev split."""
    metrics: Metrics = {name: {} for name in config.evaluated_tasks}
    for name, split in config.scored_keys:
        if kind_of(split) == "dev":
            dataset = parts.datasets[name, split]
            metrics[name][split] = all_scores(dataset, predicted[name, split])
    return metrics


def _is_degenerate(parts: Parts, predicted: Mapping[Key, Array]) -> bool:
    """Whether the tasks that were trained have learned nothing."""
    datasets = {name: parts.datasets[name, "dev"] for name in parts.trained}
    return is_degenerate(
        (dataset.task.metrics[0], predicted[name, "dev"], dataset.labels)
        for name, dataset in datasets.items()
    )


def _results(
    parts: Parts, predicted: Mapping[Key, Array], metrics: Metrics, progress: Progress
) -> dict[str, Any]:
    """What the manifest of a run that has trained says of it."""
    found: dict[str, Any] = {"best_epoch": progress.best_epoch, "dev": _deciding(metrics)}
    found["metrics"] = metrics
    if _is_degenerate(parts, predicted):
        found["degenerate"] = True
    found["padded_per_real_token"] = padding_ratios(progress)
    if (halved := parts.trainee.objective.state_dict().get(SIZE)) is not None:
        found[SIZE] = int(halved)
    return found


def _deciding(metrics: Metrics) -> dict[str, float]:
    """Each task's score that decides."""
    return {name: splits["dev"][TASKS[name].metric_name] for name, splits in metrics.items()}


def _show(
    config: ResolvedConfig, parts: Parts, manifest: Mapping[str, Any], progress: Progress
) -> None:
    show(summary(config, parts.trained, manifest["metrics"], progress))
    for line in registry.remarks(config, parts.trainee.model):
        show(line)
    if manifest.get("degenerate"):
        log.warning("warning: %s. Lower --lr, or train longer", DEGENERATE)


def padding_ratios(progress: Progress) -> dict[str, float]:
    """Tokens with padding over real ones, for every task whose texts went through the encoder."""
    return {task: padded / real for task, (real, padded) in progress.tokens.items()}


def summary(
    config: ResolvedConfig, trained: Sequence[str], metrics: Metrics, progress: Progress
) -> str:
    """The run's result as a table for stdout."""
    ratios = padding_ratios(progress)
    lines = [f"dev scores of the best epoch ({progress.best_epoch} of {len(progress.history)})"]
    for name, splits in metrics.items():
        remark = "" if name in trained else "  (not trained)"
        ratio = f"  {ratios[name]:.3f} padded tokens per real one" if name in ratios else ""
        rows = [(split, *each) for split, values in splits.items() for each in values.items()]
        (_, metric, value), *others = rows
        lines.append(f"  {name + ' ':<7}{metric + ' ':<10}{value:6.3f}{ratio}{remark}")
        lines += [
            f"  {'':<7}{metric + ' ':<10}{value:6.3f}  on {split}"
            for split, metric, value in others
        ]
    if metrics.keys() >= set(COURSE_TASKS):
        scores = _deciding(metrics)
        course = {name: scores[name] for name in COURSE_TASKS}
        lines.append(f"  overall (2024) {overall(course):8.3f}")
        lines.append(f"  overall (2023) {sum(course.values()) / len(course):8.3f}")
    lines.append("predictions")
    lines += [f"  {config.out_file(name, split)}" for name, split in config.scored_keys]
    return "\n".join(lines)

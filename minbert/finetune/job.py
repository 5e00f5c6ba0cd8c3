"""One run, from a located configuration to prediction files."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from minbert.finetune import glue_zip, outputs
from minbert.finetune.build import Parts, build
from minbert.finetune.config import Key, ResolvedConfig, RunConfig
from minbert.finetune.evaluate import all_scores, commonest_scores, predict
from minbert.finetune.identity import input_files, input_hashes, run_name, settings
from minbert.finetune.microbatches import SIZE
from minbert.finetune.nearest import refuse_another
from minbert.finetune.precision import with_precision
from minbert.finetune.recommended import origins, recommended
from minbert.finetune.trained import keep_encoder_files
from minbert.regularizers import registry
from minbert.support import durable_files, untrusted
from minbert.support.command import show
from minbert.support.console import log
from minbert.support.device import pick_device, use_threads
from minbert.support.signals import StopRequest
from minbert.tasks.metrics import DEGENERATE, is_degenerate
from minbert.tasks.mixing import WITH_ROUNDS
from minbert.tasks.registry import COURSE_TASKS, TASKS, overall
from minbert.tasks.task import Array, kind_of
from minbert.training import group, trackers
from minbert.training.checkpoint import CheckpointStore
from minbert.training.progress import Progress
from minbert.training.record import STEPS, new_manifest, recorded
from minbert.training.run_folder import BAD_ROWS, MANIFEST, check_shared, held
from minbert.training.session import load_best, starting_point, train

Metrics = dict[str, dict[str, dict[str, float]]]  # task -> dev split -> metric -> score

# of folder, settings, parts, manifest and predictions
Report = Callable[[Path, ResolvedConfig, Parts, Mapping[str, Any], Mapping[Key, Array]], None]


@dataclass(frozen=True)
class Result:
    """What a finished run leaves: its folder, the best epoch's dev scores, the manifest."""

    folder: Path
    scores: Mapping[str, float]
    manifest: Mapping[str, Any]


def run(typed: RunConfig, stop: StopRequest, report: Report | None = None) -> Result:
    """Train, score dev, and write the prediction files of every evaluated task.

    The files of `typed` are located. Raises InputError, RunError or Stopped. Where several ranks
    train together, all of them do this, and rank 0 alone writes. `report` gets what it leaves.
    """
    began = time.monotonic()
    trackers.check(typed.track)
    resume = typed.resume or group.restarted()
    typed = dataclasses.replace(typed, ranks=group.wanted(typed.ranks), resume=resume)
    use_threads(typed.threads, group.ranks_here())
    if typed.ranks > group.size():
        return group.launch(typed.ranks, partial(run, typed, report=report))
    device = pick_device(typed.device, require_gpu=typed.use_gpu)
    group.take(device)
    typed = with_precision(typed, device)
    advice = recommended(Path(str(typed.weights)), typed.option)
    folder = Path(typed.output_dir or Path("runs") / run_name(typed.resolved(advice)))
    config = outputs.out_of_the_way(typed, folder).resolved(advice)
    with contextlib.ExitStack() as writing:
        if group.rank() == 0:
            if config.resume and config.output_dir is None and not group.restarted():
                refuse_another(config, folder)
            outputs.check(config, folder)
            writing.enter_context(held(folder))
        check_shared(folder)
        _announce(config, origins(typed), f"{device}, {config.precision}", folder)
        parts, facts, progress = _begin(config, folder, device)
        glue_zip.check(config, parts.datasets)
        manifest = new_manifest(config, facts["sha256"], device)
        manifest[STEPS] = parts.trainee.plan.total_steps
        if group.rank() == 0:
            writing.enter_context(recorded(folder / MANIFEST, manifest, progress, began))
            durable_files.write_text(folder / BAD_ROWS, _bad_rows(parts))
            keep_encoder_files(folder, Path(str(config.weights)), facts["sha256"])
        train(folder, parts.trainee, facts, progress, stop, config.track)
        group.wait()  # the best model is on disk
        with stop.immediate():
            predicted = _predict(config, parts, progress, folder)
        manifest |= _results(config, parts, predicted, progress)
        if group.rank() == 0:
            with stop.deferred():  # all files and the mark that the run is done, or none
                durable_files.write_texts(outputs.rendered(config, parts.datasets, predicted))
                glue_zip.write(config, parts.datasets, predicted)
                CheckpointStore(folder).finish({**facts, **dataclasses.asdict(progress)})
    if group.rank() == 0:
        _show(config, parts, manifest, progress)
        if report is not None:
            report(folder, config, parts, manifest, predicted)
        singles = any(not TASKS[name].is_pair for name in config.evaluated_tasks)
        example = '"a sentence"' if singles else '"one sentence" "another"'
        log.info("ask it: python -m minbert.predict %s %s", folder, example)
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


def _announce(config: ResolvedConfig, remarks: Iterable[str], device: str, folder: Path) -> None:
    trained, scored = ", ".join(config.trained_tasks), ", ".join(config.evaluated_tasks)
    order = "in turn" if config.rrobin in WITH_ROUNDS else "in random order"
    turns = f" {order} ({config.rrobin})" if config.rrobin else ""
    log.info("%s on %s%s; scored on %s", config.option, trained, turns, scored)
    heads = "" if config.head_lr is None else f", {config.head_lr:g} for the heads"
    length = f"{config.epochs} epochs, batch size {config.batch_size}, pooling {config.pooling}"
    rates = f"learning rate {config.lr:g}{heads}; {length}"
    log.info("%s; device %s; seed %d; run folder %s", rates, device, config.seed, folder)
    for line in remarks:
        log.info("%s", line)
    if config.steps_per_task == "summed":
        log.info("an optimizer step for every round, on the sum of its tasks' losses")
    if config.limit and config.predicted_keys:
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


def _of_dev(config: ResolvedConfig, scores: Callable[[str, str], dict[str, float]]) -> Metrics:
    """The scores of every dev split, by task."""
    metrics: Metrics = {name: {} for name in config.evaluated_tasks}
    for name, split in config.scored_keys:
        if kind_of(split) == "dev":
            metrics[name][split] = scores(name, split)
    return metrics


def _is_degenerate(parts: Parts, predicted: Mapping[Key, Array]) -> bool:
    """Whether the tasks that were trained have learned nothing."""
    datasets = {name: parts.datasets[name, "dev"] for name in parts.trained}
    return is_degenerate(
        (dataset.task.metrics[0], predicted[name, "dev"], dataset.labels)
        for name, dataset in datasets.items()
    )


def _results(
    config: ResolvedConfig, parts: Parts, predicted: Mapping[Key, Array], progress: Progress
) -> dict[str, Any]:
    """What the manifest of a run that has trained says of it."""
    data = parts.datasets
    metrics = _of_dev(config, lambda *key: all_scores(data[key], predicted[key]))
    found: dict[str, Any] = {"best_epoch": progress.best_epoch, "dev": _deciding(metrics)}
    found["metrics"] = metrics
    found["commonest_label"] = _of_dev(config, lambda *key: commonest_scores(data[key]))
    found["labelled"] = _labelled(parts, metrics)
    if _is_degenerate(parts, predicted):
        found["degenerate"] = True
    found["padded_per_real_token"] = padding_ratios(progress)
    if (halved := parts.trainee.objective.state_dict().get(SIZE)) is not None:
        found[SIZE] = int(halved)
    return found


def _labelled(parts: Parts, metrics: Metrics) -> dict[str, dict[str, int]]:
    """The number of examples that each dev split was scored on, by task."""
    return {
        name: {
            split: int(np.isfinite(parts.datasets[name, split].labels).sum()) for split in splits
        }
        for name, splits in metrics.items()
    }


def _deciding(metrics: Metrics) -> dict[str, float]:
    """Each task's score that decides."""
    return {name: splits["dev"][TASKS[name].metric_name] for name, splits in metrics.items()}


def _show(
    config: ResolvedConfig, parts: Parts, manifest: Mapping[str, Any], progress: Progress
) -> None:
    show(summary(config, parts.trained, manifest, progress))
    for line in registry.remarks(config, parts.trainee.model):
        show(line)
    if manifest.get("degenerate"):
        log.warning("warning: %s. Lower --lr, or train longer", DEGENERATE)


def padding_ratios(progress: Progress) -> dict[str, float]:
    """Tokens with padding over real ones, for every task whose texts went through the encoder."""
    return {task: padded / real for task, (real, padded) in progress.tokens.items()}


def summary(
    config: ResolvedConfig, trained: Sequence[str], manifest: Mapping[str, Any], progress: Progress
) -> str:
    """The run's result as a table for stdout, at most 80 columns wide but for names of files."""
    of = "" if config.keep == "last" else f" of {len(progress.history)}"
    lines = [f"dev scores of the {config.keep} epoch ({progress.best_epoch}{of})"]
    for name, splits in manifest["metrics"].items():
        remark = "" if name in trained else "  (not trained)"
        commonest = manifest["commonest_label"][name]
        rows = [
            f"{metric + ' ':<10}{value:6.3f}  commonest label {commonest[split][metric]:.3f}"
            + ("" if split == "dev" else f"  on {split}")
            for split, values in splits.items()
            for metric, value in values.items()
        ]
        first, *others = rows
        lines += [f"  {name + ' ':<7}{first}{remark}", *(f"  {'':<7}{row}" for row in others)]
    if set(COURSE_TASKS) <= manifest["metrics"].keys():
        lines += _overalls(*(_deciding(manifest[key]) for key in ("metrics", "commonest_label")))
    if ratios := padding_ratios(progress):
        shown = ", ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items())
        lines.append(f"padded tokens per real one: {shown}")
    if config.predicted_keys:
        lines.append("predictions")
    lines += [f"  {config.out_file(name, split)}" for name, split in config.predicted_keys]
    return "\n".join(lines)


def _overalls(scores: Mapping[str, float], commonest: Mapping[str, float]) -> Iterator[str]:
    """The course's two ways to make one number of its tasks' scores, for both kinds of scores."""
    ours, theirs = ({name: each[name] for name in COURSE_TASKS} for each in (scores, commonest))
    for year, total in (("2024", overall), ("2023", lambda of: sum(of.values()) / len(of))):
        yield f"  overall ({year}) {total(ours):8.3f}  commonest label {total(theirs):.3f}"

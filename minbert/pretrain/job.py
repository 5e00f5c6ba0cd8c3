"""One pretraining run, from text files to a folder in the published layout."""

import contextlib
import dataclasses
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from minbert.encoder import weights
from minbert.pretrain import corpus
from minbert.pretrain.budget import keep_steps, total_steps
from minbert.pretrain.build import Ingredients, gather, trainee
from minbert.pretrain.config import PretrainConfig
from minbert.pretrain.model import PretrainingBert
from minbert.support import durable_files, untrusted
from minbert.support.command import show
from minbert.support.console import clock, log
from minbert.support.device import pick_device, use_threads
from minbert.support.errors import InputError
from minbert.support.outputs import check_name, refusing_unwritable
from minbert.support.signals import StopRequest
from minbert.training import group, trackers
from minbert.training.checkpoint import CheckpointStore
from minbert.training.precision import agreed
from minbert.training.progress import Progress
from minbert.training.record import STEPS, as_json, new_manifest, recorded
from minbert.training.run_folder import ENCODER, MANIFEST, check_shared, held
from minbert.training.session import load_best, starting_point, train

_HOW = ("output_dir", "resume", "checkpoint_every", "device", "threads", "track")
_INDIFFERENT = (*_HOW, "cache", "save", "half", "finetune_dropout")
_PLACES = ("text", "weights", "vocab", "teacher", "scored_pairs")


def run(config: PretrainConfig, stop: StopRequest) -> None:
    """Pretrain; write the encoder that scores best. Raises InputError, RunError or Stopped."""
    began = time.monotonic()
    trackers.check(config.track)
    resume = config.resume or group.restarted()
    config = dataclasses.replace(config, ranks=group.wanted(config.ranks), resume=resume)
    use_threads(config.threads, group.ranks_here())
    if config.ranks > group.size():
        group.launch(config.ranks, partial(run, config))
        return
    device = pick_device(config.device)
    group.take(device)
    precision = agreed(config.precision, device, lowers=True)
    config = dataclasses.replace(config, precision=precision)
    folder = Path(config.output_dir)
    target = Path(config.save or folder / ENCODER)
    _check_files(config, folder, target)
    with contextlib.ExitStack() as writing:
        if group.rank() == 0:
            writing.enter_context(held(folder))
            _check_writable(config.save, target)
        check_shared(folder)
        read = _files(config)
        with group.first_alone(), untrusted.unchanged(read.values()):
            ingredients = gather(config, device)  # rank 0 makes what is not cached
            sha256 = {name: durable_files.sha256_of(path) for name, path in read.items()}
        steps = total_steps(ingredients, folder, began)
        trained = trainee(ingredients, steps)
        facts = _facts(ingredients, steps, sha256)
        with group.first_alone():  # it moves an earlier run aside
            progress = starting_point(folder, trained, facts, go_on=config.resume)
        _announce(ingredients, steps, device)
        if group.rank() == 0:
            if config.time_budget is not None:
                keep_steps(trained, folder, facts)
            manifest = new_manifest(config, facts["sha256"], device) | {STEPS: steps}
            writing.enter_context(recorded(folder / MANIFEST, manifest, progress, began))
        train(folder, trained, facts, progress, stop, config.track)
        if group.rank() > 0:
            return
        with stop.immediate():
            if progress.best_epoch is not None:
                load_best(folder, trained.model, progress)
            _save(config, trained.model, target, learnt=steps > 0)
        CheckpointStore(folder).finish({**facts, **dataclasses.asdict(progress)})
    show(_summary(config, target, progress))


def _save(config: PretrainConfig, model: PretrainingBert, target: Path, *, learnt: bool) -> None:
    """Write the encoder, with the heads that know something: by this run, or by what it took."""
    heads = model.heads if learnt else model.loaded_heads
    dtype = torch.float16 if config.half else None
    model.save_pretrained(target, dtype, heads=heads if config.guesses else ())


def _check_writable(save: str | None, target: Path) -> None:
    """Raise InputError now, not after hours of training, where the encoder cannot be written."""
    if save is not None:
        check_name(target, f"--save {target}")
        with refusing_unwritable(f"--save {target}"):
            durable_files.check_writable(target / "config.json" if target.is_dir() else target)


def _check_files(config: PretrainConfig, folder: Path, target: Path) -> None:
    """Raise InputError for what cannot be read or written, or lies in the run's own folder."""
    corpus.check_files(config.text_files, pairs=config.pairs)
    _check_target(target)
    for key in ("weights", "vocab", "teacher"):
        source = getattr(config, key)
        if source and folder.resolve() in Path(source).resolve().parents:
            raise InputError(f"--{key} {source}: lies in the run's own folder {folder}")
        # what --weights names may be replaced: the run goes on from it
        if source and key != "weights" and target.resolve() == Path(source).resolve():
            raise InputError(f"--save {target}: would replace the --{key}; name another folder")


def _check_target(target: Path) -> None:
    """Raise InputError unless the target is free, an encoder, or what a killed run wrote of one."""
    if target.exists() and not target.is_dir():
        raise InputError(f"--save {target}: a file of that name is in the way")
    if not target.is_dir() or (target / "config.json").is_file():
        return
    if any(f.name not in weights.WRITTEN and not f.name.startswith(".") for f in target.iterdir()):
        raise InputError(f"--save {target}: holds something else than an encoder; name another")


def _files(config: PretrainConfig) -> dict[str, Path]:
    """Every file that the run reads."""
    read = {f"text {number}": path for number, path in enumerate(config.text_files)}
    if config.weights is not None:
        read |= weights.input_files(Path(config.weights))
    if config.vocab is not None:
        read |= {name: Path(config.vocab) / name for name in weights.VOCAB_FILES}
    if config.teacher is not None:
        files = weights.input_files(Path(config.teacher))
        read["teacher"] = files.pop("weights")
        read |= {f"teacher's {name}": path for name, path in files.items()}
    if config.scored_pairs is not None:
        read["scored pairs"] = Path(config.scored_pairs)
    return {name: path for name, path in read.items() if path.is_file()}


def _facts(ingredients: Ingredients, steps: int, sha256: Mapping[str, str]) -> dict[str, Any]:
    """What decides the run: its settings, hashes of the files it reads, and the text's keys."""
    kept = {
        name: value
        for name, value in dataclasses.asdict(ingredients.config).items()
        if name not in (*_INDIFFERENT, *_PLACES)
    }
    if kept["ranks"] == 1:  # as a run had it before there were more
        del kept["ranks"]
    keys = {lesson.title: lesson.text.key for lesson in ingredients.lessons}
    return {"settings": as_json({**kept, STEPS: steps}), "sha256": {**sha256, **keys}}


def _announce(ingredients: Ingredients, steps: int, device: torch.device) -> None:
    config, model = ingredients.config, ingredients.model
    log.info(
        "%d layers, hidden size %d, %.1f million weights; device %s, %s; seed %d",
        model.published.num_hidden_layers,
        model.published.hidden_size,
        sum(param.numel() for param in model.parameters()) / 1e6,
        device,
        config.precision,
        config.seed,
    )
    for lesson in ingredients.lessons:
        rows = len(lesson.text)
        log.info(
            "%d steps of %d %s: %.2f passes over %d rows; %d rows held out",
            steps,
            lesson.batch_size,
            lesson.rows,
            steps * lesson.batch_size / rows,
            rows,
            lesson.held_out,
        )


def _summary(config: PretrainConfig, target: Path, progress: Progress) -> str:
    lines = [f"encoder written to {target}"]
    if progress.best_epoch is not None:
        best = progress.history[progress.best_epoch - 1]
        real = sum(tokens for tokens, _ in progress.tokens.values())
        seconds = sum(row["train_seconds"] for row in progress.history)
        lines += [f"  held-out {name:<14}{score:10.4f}" for name, score in best["scores"].items()]
        lines.append(f"  at step {best['step']}, of {config.batch_size} rows each")
        lines.append(f"  {real} tokens seen in {clock(seconds)}, {progress.step} steps in all")
    return "\n".join(lines)

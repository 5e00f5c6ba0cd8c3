"""One run, from a located configuration to prediction files."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minbert import files, predictions, weights
from minbert.build import Key, Parts, build
from minbert.checkpoint import CheckpointStore, DamagedCheckpoint
from minbert.config import RunConfig
from minbert.evaluate import predict, score
from minbert.journal import Journal
from minbert.runtime import (
    InputError,
    RunError,
    Stopped,
    StopRequest,
    describe_machine,
    log,
    pick_device,
)
from minbert.tasks import TASKS, Array, overall
from minbert.train import Progress, fit, resume

_MANIFEST, _LOG, _BAD_ROWS, _LOCK = "manifest.json", "log.jsonl", "bad_rows.jsonl", "lock"
_INDIFFERENT = ("output_dir", "resume", "checkpoint_every", "strict", "use_gpu", "device")


@dataclass(frozen=True)
class Result:
    """What a finished run leaves: its folder, dev scores, and the manifest."""

    folder: Path
    scores: Mapping[str, float]
    manifest: Mapping[str, Any]


def identity(config: RunConfig) -> dict[str, Any]:
    """The settings that decide a run's result: two runs that agree in them are the same run."""
    settings = dataclasses.asdict(config)
    return json.loads(
        json.dumps(
            {
                name: value
                for name, value in settings.items()
                if name not in _INDIFFERENT and not name.endswith("_out")
            }
        )
    )


def run_name(config: RunConfig) -> str:
    """A readable name for the configuration, with a hash that tells any two apart."""
    digest = hashlib.sha256(json.dumps(identity(config), sort_keys=True).encode()).hexdigest()
    words = [config.option, "rrobin" if config.rrobin else "", "+".join(config.trained_tasks)]
    words += [name for name in ("smart", "rlayer", "cross_encoder") if getattr(config, name)]
    words += [f"seed{config.seed}", digest[:8]]
    return "-".join(word for word in words if word)


def run(config: RunConfig, stop: StopRequest) -> Result:
    """Train, score dev, and write the prediction files of every evaluated task.

    `config` is resolved and its files are located. Raises InputError, RunError or Stopped.
    """
    config = config.resolved()
    device = pick_device(config.device, require_gpu=config.use_gpu)
    folder = Path(config.output_dir or Path("runs") / run_name(config))
    _check_outputs(config)
    with _run_folder(folder, config) as saved:
        _announce(config, str(device), folder)
        parts = build(config, device)
        files.write_text(folder / _BAD_ROWS, _bad_rows(parts))
        facts = {"identity": identity(config), "sha256": _hashes(config)}
        manifest = _first_manifest(config, facts, describe_machine(device))
        progress = _resumed(parts, saved, facts, folder) if saved else Progress()
        with _recorded(folder, manifest, progress):
            _train(parts, facts, progress, folder, stop)
            with stop.immediate():
                scores = _finish(config, parts, folder, facts, manifest, progress)
        return Result(folder, scores, manifest)


# -------------------------------------------------------------------------------- before training


def _check_outputs(config: RunConfig) -> None:
    """Fail now, not after a night of training, where a prediction file could not be written.

    And never let a run over the first --limit rows replace the predictions of a whole one.
    """
    for task in config.evaluated_tasks:
        for split in ("dev", "test"):
            path, key = Path(config.out_file(task, split)), f"--{task}_{split}_out"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{key} {path}: its folder cannot be made ({error})") from error
            if path.is_dir() or not os.access(path.parent, os.W_OK):
                raise InputError(f"{key} {path}: cannot be written")
            if config.limit and (rows := predictions.count_rows(path)) > config.limit:
                raise InputError(
                    f"{path} holds {rows} predictions and --limit {config.limit} would leave fewer "
                    f"in their place: move it away, or name another file with {key}"
                )


@contextlib.contextmanager
def _run_folder(folder: Path, config: RunConfig) -> Iterator[Any]:
    """Take the folder for this run alone; gives the checkpoint to go on from, or None.

    Without --resume an earlier run's folder is moved aside, never overwritten.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output_dir {folder}: a file of that name is in the way")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _LOCK).exists():
        raise InputError(f"--output_dir {folder}: holds something else than a run; name another")
    with _lock(folder):
        pass  # nobody is using it
    if folder.exists() and not config.resume and (folder / _MANIFEST).exists():
        log.info("%s holds an earlier run: moved to %s", folder, _move_aside(folder))
    with _lock(folder):
        saved = CheckpointStore(folder).load_last() if config.resume else None
        if config.resume and saved is None:
            log.info("--resume: no whole checkpoint in %s, starting afresh", folder)
        if saved is None:
            (folder / _LOG).unlink(missing_ok=True)
        yield saved


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{folder}: another run is using it; name another --output_dir") from error
        yield


def _move_aside(folder: Path) -> Path:
    number = 1
    while (target := folder.with_name(f"{folder.name}.old{number}")).exists():
        number += 1
    return folder.rename(target)


def _announce(config: RunConfig, device: str, folder: Path) -> None:
    trained = ", ".join(config.trained_tasks)
    turns = f" in turn ({config.rrobin})" if config.rrobin else ""
    log.info("%s: %s%s train; %s are scored", config.option, trained, turns, _listed(config))
    log.info(
        "learning rate %g, %d epochs, batch size %d; device %s; seed %d; run folder %s",
        *(config.lr, config.epochs, config.batch_size, device, config.seed, folder),
    )
    if config.limit:
        log.warning("--limit %d: predictions cover these rows only, not for handing in", config.limit)


def _listed(config: RunConfig) -> str:
    return ", ".join(config.evaluated_tasks)


def _bad_rows(parts: Parts) -> str:
    rows = [row for split in parts.splits.values() for row in split.bad_rows]
    return "".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in rows)


def _hashes(config: RunConfig) -> dict[str, str]:
    keys = [f"{task}_{split}" for task in config.evaluated_tasks for split in ("dev", "test")]
    keys += [f"{task}_train" for task in config.trained_tasks]
    folder = Path(str(config.weights))
    paths = {key: Path(getattr(config, key)) for key in keys}
    paths["weights"] = weights.weights_file(folder)
    paths |= {name: folder / name for name in ("config.json", "vocab.txt")}
    return {key: files.sha256_of(path) for key, path in paths.items()}


def _resumed(parts: Parts, saved: Any, facts: Mapping[str, Any], folder: Path) -> Progress:
    before = saved[1]
    for part in ("identity", "sha256"):
        changed = [k for k, v in facts[part].items() if before[part].get(k) != v]
        if changed:
            raise InputError(
                f"--resume: {folder} was begun with other {', '.join(changed)} "
                f"({before[part].get(changed[0])}, now {facts[part][changed[0]]}); use the same, "
                "or start another run with --output_dir"
            )
    progress = resume(parts.model, parts.objective, parts.optimizer, saved)
    log.info("resumed at step %d of %d", progress.step, parts.plan.total_steps)
    return progress


# ------------------------------------------------------------------------------ during and after


@contextlib.contextmanager
def _recorded(folder: Path, manifest: dict[str, Any], progress: Progress) -> Iterator[None]:
    """Keep manifest.json true: running, and then how it ended."""
    began = time.time()
    earlier = _earlier_seconds(folder)

    def record(status: str) -> None:
        manifest["status"] = status
        manifest["wall_seconds"] = round(earlier + time.time() - began, 1)
        manifest["epochs"] = progress.history
        files.write_json(folder / _MANIFEST, manifest)

    record("running")
    try:
        yield
    except Stopped as error:
        record(f"stopped by {error}")
        log.info("stopped at step %d; go on with --resume", progress.step)
        raise
    except (RunError, InputError, OSError) as error:
        record(f"failed: {error}")
        raise
    record("finished")


def _earlier_seconds(folder: Path) -> float:
    """Seconds that the runs before this resumption took."""
    try:
        return float(json.loads((folder / _MANIFEST).read_text())["wall_seconds"])
    except (OSError, ValueError, KeyError):
        return 0.0


def _train(
    parts: Parts, facts: Mapping[str, Any], progress: Progress, folder: Path, stop: StopRequest
) -> None:
    lines = files.JsonLines(folder / _LOG)
    lines.cut_before(progress.step)
    journal = Journal(lines, parts.model.device)
    try:
        fit(
            parts.model,
            parts.objective,
            parts.optimizer,
            parts.plan,
            store=CheckpointStore(folder),
            journal=journal,
            stop=stop,
            facts=facts,
            progress=progress,
        )
    finally:
        lines.close()


def _finish(
    config: RunConfig,
    parts: Parts,
    folder: Path,
    facts: Mapping[str, Any],
    manifest: dict[str, Any],
    progress: Progress,
) -> dict[str, float]:
    """Predict with the best epoch's model, write every file, and print the scores."""
    store = CheckpointStore(folder)
    assert progress.best_epoch is not None
    try:
        parts.model.load_state_dict(store.load_best(progress.best_epoch))
    except DamagedCheckpoint as error:
        raise RunError(f"the best model cannot be read back: {error}; run again") from error
    predicted: dict[Key, Array] = {}
    for name in config.evaluated_tasks:
        for split in ("dev", "test"):
            predicted[name, split] = predict(
                parts.model, parts.datasets[name, split], f"{split} {name}"
            )
    scores = {
        name: score(parts.datasets[name, "dev"], predicted[name, "dev"])
        for name in config.evaluated_tasks
    }
    for (name, split), values in predicted.items():
        ids = parts.datasets[name, split].ids
        predictions.write(Path(config.out_file(name, split)), TASKS[name], ids, values)
    manifest["best_epoch"], manifest["dev"] = progress.best_epoch, scores
    manifest["padding"] = padding_ratios(progress)
    store.finish({**facts, **dataclasses.asdict(progress)})
    print(summary(config, scores, progress))
    return scores


def padding_ratios(progress: Progress) -> dict[str, float]:
    """Tokens computed over real tokens in training, for every task that went through the encoder."""
    return {task: computed / real for task, (real, computed) in progress.tokens.items()}


def summary(config: RunConfig, scores: Mapping[str, float], progress: Progress) -> str:
    """The run's result as a table for stdout."""
    ratios = padding_ratios(progress)
    lines = [f"dev scores of the best epoch ({progress.best_epoch} of {len(progress.history)})"]
    for name, value in scores.items():
        trained = "" if name in config.trained_tasks else "  (not trained)"
        ratio = f"  {ratios[name]:.3f} tokens computed per real token" if name in ratios else ""
        lines.append(f"  {name:<7}{TASKS[name].metric_name:<10}{value:6.3f}{ratio}{trained}")
    if set(scores) >= {"sst", "para", "sts"}:
        course = {name: scores[name] for name in ("sst", "para", "sts")}
        lines.append(f"  overall (2024) {overall(course):10.3f}")
        lines.append(f"  overall (2023) {sum(course.values()) / 3:10.3f}")
    lines.append("predictions")
    for name in config.evaluated_tasks:
        lines += [f"  {config.out_file(name, split)}" for split in ("dev", "test")]
    return "\n".join(lines)


def _first_manifest(
    config: RunConfig, facts: Mapping[str, Any], machine: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "status": "running",
        "config": json.loads(json.dumps(dataclasses.asdict(config))),
        "sha256": facts["sha256"],
        "machine": dict(machine),
        "git": _git_state(),
    }


def _git_state() -> dict[str, Any] | None:
    """Commit of the code and whether files differ from it; None outside a repository."""
    here = Path(__file__).resolve().parent

    def ask(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain", "."))}
    except (OSError, subprocess.CalledProcessError):
        return None

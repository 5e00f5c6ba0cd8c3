"""Checkpoints: folders of safetensors and JSON under a manifest of SHA-256 hashes.

A checkpoint is written to a temporary sibling, flushed, and renamed, so it is whole or absent. It
is verified when read, because a flipped bit loads silently in every format. Nothing is pickled.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.optim import Optimizer

from minbert.support import durable_files
from minbert.support.console import log

MANIFEST, FACTS = "manifest.json", "state.json"
_STEP, _BEST, _FINISHED = "step-", "best-", "finished"
_KEPT = 2  # the last checkpoint and the one before, should the last be damaged on disk


class DamagedCheckpoint(Exception):
    """A checkpoint whose files do not match its manifest."""


def save(
    folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any]
) -> None:
    """Write a checkpoint: a safetensors file for each group of `tensors`, and `facts` as JSON.

    A folder that is there already is damaged, or a killed run left it: it is removed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with durable_files.new_folder(folder) as draft:
        for group, members in tensors.items():
            cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in members.items()}
            durable_files.save_tensors(draft / f"{group}.safetensors", cpu, {"format": "pt"})
        durable_files.write_json(draft / FACTS, facts)
        hashes = {file.name: durable_files.sha256_of(file) for file in sorted(draft.iterdir())}
        durable_files.write_json(draft / MANIFEST, {"sha256": hashes})


def load(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Verify and read a checkpoint: (groups of tensors, facts). Raises DamagedCheckpoint."""
    try:
        hashes = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"]
        for name, expected in hashes.items():
            if durable_files.sha256_of(folder / name) != expected:
                raise DamagedCheckpoint(f"{folder / name}: its SHA-256 is not the manifest's")
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        names = [name for name in hashes if name.endswith(".safetensors")]
        groups = {name.removesuffix(".safetensors"): load_file(folder / name) for name in names}
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DamagedCheckpoint(f"{folder}: {error}") from error
    return groups, facts


class CheckpointStore:
    """The checkpoints of one run: the last two to go on from, and the best model so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def drop_drafts(self) -> None:
        """Remove what a killed run left half-written. The caller must be the only writer here."""
        for draft in self.folder.glob(".*.tmp"):
            shutil.rmtree(draft) if draft.is_dir() else draft.unlink()

    def _numbered(self, prefix: str) -> list[Path]:
        return sorted(self.folder.glob(f"{prefix}[0-9]*"))

    def save_step(
        self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any]
    ) -> None:
        """Write the state after `step` steps, then remove the checkpoints that it replaces.

        `facts["best_epoch"]` names the best model that the state relies on, or is None;
        `facts["epochs_scored"]` is a part of the checkpoint's name.
        """
        save(self.folder / f"{_STEP}{step:08d}-{facts['epochs_scored']:04d}", tensors, facts)
        for old in self._numbered(_STEP)[:-_KEPT]:
            shutil.rmtree(old)
        self._drop_unused_bests()

    def save_best(
        self, epoch: int, model: Mapping[str, Tensor], predictions: Mapping[str, Tensor]
    ) -> None:
        """Keep an epoch's model and predictions; earlier ones stay if a checkpoint needs them."""
        save(self._best(epoch), {"model": model, "predictions": predictions}, {})

    def load_best(self, epoch: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The model and the predictions of `save_best(epoch)`. Raises DamagedCheckpoint."""
        groups, _ = load(self._best(epoch))
        return groups["model"], groups["predictions"]

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Keep the facts and the best model of a run that is done, and remove all else."""
        save(self.folder / _FINISHED, {}, facts)
        for old in [*self._numbered(_STEP), *self._numbered(_BEST)]:
            if facts["best_epoch"] is None or old != self._best(facts["best_epoch"]):
                shutil.rmtree(old)

    def load_last(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]] | None:
        """The newest whole checkpoint, None without one; damaged ones are named and set aside."""
        for folder in reversed([*self._numbered(_STEP), *self.folder.glob(_FINISHED)]):
            try:
                groups, facts = load(folder)
                if facts["best_epoch"] is not None:  # whole only with the model it relies on
                    self.load_best(facts["best_epoch"])
                return groups, facts
            except DamagedCheckpoint as error:
                log.warning("damaged checkpoint set aside: %s", error)
                folder.rename(_unused(folder.with_name(f"damaged-{folder.name}")))
        return None

    def _best(self, epoch: int) -> Path:
        return self.folder / f"{_BEST}{epoch:04d}"

    def _drop_unused_bests(self) -> None:
        kept = [json.loads((path / FACTS).read_text()) for path in self._numbered(_STEP)]
        used = [
            self._best(facts["best_epoch"]) for facts in kept if facts["best_epoch"] is not None
        ]
        for path in self._numbered(_BEST):
            if path not in used:
                shutil.rmtree(path)


class UnsavedCheckpoints(CheckpointStore):
    """The checkpoints of one run for every rank but the first: it reads them and saves none."""

    def save_step(self, *_: object) -> None:
        """Leave it to rank 0."""

    def save_best(self, *_: object) -> None:
        """Leave it to rank 0."""


def _unused(path: Path) -> Path:
    return path if not path.exists() else _unused(path.with_name(f"{path.name}+"))


def optimizer_tensors(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as named tensors, and its plain numbers (JSON)."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            target = tensors if isinstance(value, Tensor) else numbers
            target[f"{index}.{key}"] = value
    return tensors, numbers


def restore_optimizer(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]
) -> None:
    """Put back what `optimizer_tensors` gave. `optimizer` keeps its own rates and settings."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **numbers}.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})

"""Checkpoints: folders of safetensors and JSON under a manifest of SHA-256 hashes.

A checkpoint is written to a temporary sibling, flushed, and renamed, so it is whole or absent. It
is verified when read, because a flipped bit loads silently in every format. Nothing is pickled.
"""

import errno
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.optim import Optimizer

from minbert.support import durable_files, untrusted
from minbert.support.console import log
from minbert.support.device import out_of_memory
from minbert.support.errors import InputError, RunError

MANIFEST, FACTS = "manifest.json", "state.json"
_STEP, _BEST, _FINISHED = "step-", "best-", "finished"
_KEPT = 2  # the last checkpoint and the one before, should the last be damaged on disk
_STEP_GROUPS, _BEST_GROUPS = ("model", "optimizer", "objective"), ("model", "predictions")
# any other error says nothing of the files
_MISSING = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)
_LARGEST_FACTS = 256 * untrusted.MEGABYTE  # the scores of every epoch are among them


class DamagedCheckpoint(Exception):
    """A checkpoint whose files do not match its manifest."""


def save(
    folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any]
) -> None:
    """Write a checkpoint: a safetensors file for each group of `tensors`, and `facts` as JSON.

    What is there already is damaged, or a killed run left it: it is removed. Raises RunError, with
    the earlier checkpoints as they were, where a value is not finite: no run could go on from it.
    """
    _refuse_non_finite(folder, tensors)
    _remove(folder)
    with durable_files.new_folder(folder) as draft:
        for group, members in tensors.items():
            cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in members.items()}
            durable_files.save_tensors(draft / f"{group}.safetensors", cpu, {"format": "pt"})
        durable_files.write_json(draft / FACTS, facts)
        hashes = {file.name: durable_files.sha256_of(file) for file in sorted(draft.iterdir())}
        durable_files.write_json(draft / MANIFEST, {"sha256": hashes})


def _refuse_non_finite(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    for group, members in tensors.items():
        for name, tensor in members.items():
            if not tensor.isfinite().all():
                raise RunError(
                    f"{folder}: not saved, as {name} of the {group} is not finite; --resume goes "
                    "on from the checkpoint before. If it happens again, lower --lr or set --clip"
                )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def load(
    folder: Path, needed: Collection[str] = ()
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Verify and read a checkpoint: (groups of tensors, facts).

    Raises DamagedCheckpoint where a file is not the manifest's or one of the `needed` groups is not
    there, and RunError where the files cannot be read at present.
    """
    try:
        groups, facts = _verified(folder)
    except (OSError, RuntimeError, MemoryError, SafetensorError) as error:
        if not _is_damage(error):
            raise RunError(
                f"{folder}: cannot be read now ({error}); it stays where it is: see to the disk, "
                "the rights or the memory, and run the same command with --resume again"
            ) from error
        raise DamagedCheckpoint(f"{folder}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpoint(f"{folder}: {error!r}") from error
    if missing := set(needed) - groups.keys():
        raise DamagedCheckpoint(f"{folder}: its manifest lacks {', '.join(sorted(missing))}")
    return groups, facts


def _verified(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    hashes = _object(folder / MANIFEST)["sha256"]
    files = [file for file in sorted(folder.iterdir()) if file.name != MANIFEST and file.is_file()]
    found = {file.name: durable_files.sha256_of(file) for file in files}
    if found != hashes:
        name, _ = min(found.items() ^ hashes.items())
        raise DamagedCheckpoint(f"{folder / name}: its SHA-256 is not the manifest's")
    facts = _object(folder / FACTS)
    tensors = [file for file in files if file.suffix == ".safetensors"]
    return {file.stem: load_file(file) for file in tensors}, facts


def _object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises DamagedCheckpoint, or OSError where it cannot be read."""
    try:
        return untrusted.read_object(path, _LARGEST_FACTS)
    except InputError as error:
        cause, damage = error.__cause__, DamagedCheckpoint(str(error))
    raise cause if isinstance(cause, OSError) else damage


def _is_damage(error: Exception) -> bool:
    if out_of_memory(error):
        return False
    return not isinstance(error, OSError) or error.errno in _MISSING


class CheckpointStore:
    """The checkpoints of one run: the last two to go on from, and the best model so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def drop_drafts(self) -> None:
        """Remove what a killed run left half-written. The caller must be the only writer here."""
        for draft in self.folder.glob(".*.tmp"):
            _remove(draft)

    def _numbered(self, prefix: str) -> list[Path]:
        # not glob(), which takes a folder that cannot be read for an empty one
        names = [entry.name for entry in self.folder.iterdir()]
        return [self.folder / name for name in sorted(names) if _is_numbered(name, prefix)]

    def save_step(
        self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any]
    ) -> None:
        """Write the state after `step` steps, then remove the checkpoints that it replaces.

        `facts["best_epoch"]` names the best model that the state relies on, or is None;
        `facts["epochs_scored"]` is a part of the checkpoint's name. Raises RunError, and removes
        nothing, where a value is not finite.
        """
        save(self.folder / f"{_STEP}{step:08d}-{facts['epochs_scored']:04d}", tensors, facts)
        for old in self._numbered(_STEP)[:-_KEPT]:
            _remove(old)
        self._drop_unused_bests()

    def save_best(
        self, epoch: int, model: Mapping[str, Tensor], predictions: Mapping[str, Tensor]
    ) -> None:
        """Keep an epoch's model and predictions; earlier ones stay if a checkpoint needs them.

        They are kept twice, since every checkpoint from now on relies on them: were the only copy
        damaged, the run would have to begin afresh. Raises RunError where a weight is not finite.
        """
        for folder in (self._copy(epoch), self._best(epoch)):
            save(folder, {"model": model, "predictions": predictions}, {})

    def load_best(self, epoch: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The model and the predictions of `save_best(epoch)`. Raises DamagedCheckpoint."""
        groups, _ = load(self._best(epoch), _BEST_GROUPS)
        return groups["model"], groups["predictions"]

    def _mend_best(self, epoch: int) -> None:
        """Let the copy take a damaged best model's place. Raises DamagedCheckpoint without one."""
        try:
            self.load_best(epoch)
        except DamagedCheckpoint as error:
            load(self._copy(epoch), _BEST_GROUPS)
            log.warning("damaged best model set aside, its copy is taken: %s", error)
            _set_aside(self._best(epoch))
            self._copy(epoch).rename(self._best(epoch))

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Keep the facts and the best model of a run that is done, and remove all else."""
        save(self.folder / _FINISHED, {}, facts)
        for old in [*self._numbered(_STEP), *self._numbered(_BEST)]:
            if facts["best_epoch"] is None or old != self._best(facts["best_epoch"]):
                _remove(old)

    def load_last(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]] | None:
        """The newest whole checkpoint, None without one; damaged ones are named and set aside.

        Raises RunError, and leaves all as it is, where one cannot be read at present.
        """
        for folder in reversed([*self._numbered(_STEP), *self.folder.glob(_FINISHED)]):
            try:
                groups, facts = load(folder, () if folder.name == _FINISHED else _STEP_GROUPS)
                if facts["best_epoch"] is not None:  # whole only with the model it relies on
                    self._mend_best(facts["best_epoch"])
                return groups, facts
            except DamagedCheckpoint as error:
                log.warning("damaged checkpoint set aside: %s", error)
                _set_aside(folder)
        return None

    def _best(self, epoch: int) -> Path:
        return self.folder / f"{_BEST}{epoch:04d}"

    def _copy(self, epoch: int) -> Path:
        return self.folder / f"{_BEST}{epoch:04d}-copy"

    def _drop_unused_bests(self) -> None:
        epochs = {_best_epoch(path) for path in self._numbered(_STEP)} - {None}
        used = [place(epoch) for epoch in epochs if epoch for place in (self._best, self._copy)]
        for path in self._numbered(_BEST):
            if path not in used:
                _remove(path)


class UnsavedCheckpoints(CheckpointStore):
    """The checkpoints of one run for every rank but the first: it reads them and saves none."""

    def save_step(self, *_: object) -> None:
        """Leave it to rank 0."""

    def save_best(self, *_: object) -> None:
        """Leave it to rank 0."""


def _best_epoch(folder: Path) -> int | None:
    """The best epoch that a checkpoint relies on; a damaged one relies on none."""
    try:
        epoch: int | None = _object(folder / FACTS)["best_epoch"]
    except (OSError, DamagedCheckpoint, KeyError) as error:
        if not _is_damage(error):
            raise
        return None
    return epoch


def _is_numbered(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and name[len(prefix) :][:1].isdecimal()


def _set_aside(path: Path) -> None:
    if path.is_symlink() or path.exists():
        path.rename(_unused(path.with_name(f"damaged-{path.name}")))


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

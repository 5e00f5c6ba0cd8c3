"""A finished run as something to use: its folder alone gives back the model and its tokenizer.

While a run trains, its folder gets copies of the encoder's `config.json` and tokenizer files. The
hashes of the encoder's own files stand in the manifest anyway, and the copies are held to them. All
weights are in the checkpoint of the best epoch, which has hashes of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minbert.data.tokenizer import WordPieceTokenizer
from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.encoder.weights import VOCAB_FILES
from minbert.finetune.build import build_model
from minbert.finetune.build_data import build_tokenizer
from minbert.finetune.config import ResolvedConfig
from minbert.model import MultitaskBert
from minbert.support import durable_files
from minbert.support.console import log
from minbert.support.device import pick_device
from minbert.support.errors import InputError
from minbert.support.outputs import check_name
from minbert.support.places import MAIN_JOB
from minbert.tasks.task import Task
from minbert.training.checkpoint import CheckpointStore, DamagedCheckpoint
from minbert.training.record import read_finished
from minbert.training.run_folder import ENCODER, MANIFEST

KEPT = ("config.json", *VOCAB_FILES)
TRAIN_ONE = f"{MAIN_JOB} --option finetune --rrobin"


@dataclass(frozen=True)
class TrainedRun:
    """What a run's folder holds: settings, model and tokenizer, and how the run went.

    `config.weights` is the run's own copy of the encoder's files.
    """

    folder: Path
    manifest: Mapping[str, Any]
    config: ResolvedConfig
    model: MultitaskBert
    tokenizer: WordPieceTokenizer

    @property
    def encoder_files(self) -> dict[str, Path]:
        """The run's copies of the encoder's files, by name."""
        return _kept(self.folder, self.manifest)

    def task(self, name: str) -> Task:
        """A task that has a head. Raises InputError where there is none of that name."""
        if name not in self.config.evaluated_tasks:
            known = ", ".join(self.config.evaluated_tasks)
            raise InputError(f"{self.folder}: no task {name} in this run; it has: {known}")
        return self.config.task(name)


def keep_encoder_files(folder: Path, encoder: Path, sha256: Mapping[str, str]) -> None:
    """Copy into a run's `folder` what describes its encoder, except for the weights.

    `sha256` are the hashes of the files that the run has read. Raises InputError where a file is
    no longer that one.
    """
    content = {name: (encoder / name).read_bytes() for name in KEPT if name in sha256}
    for name, found in content.items():
        if hashlib.sha256(found).hexdigest() != sha256[name]:
            raise InputError(f"{encoder / name}: was changed while the run began; begin it again")
    paths = {name: folder / ENCODER / name for name in content}
    with durable_files.replacing_all(paths.values()) as drafts:
        for name, path in paths.items():
            drafts[path].write_bytes(content[name])


def read_run(folder: Path, device: str = "auto") -> TrainedRun:
    """Read a finished run of the main job, with the model of its best epoch on a device.

    Raises InputError, in a line that says what to do, for anything that is no such run.
    """
    folder = _folder_of(folder)
    manifest = read_finished(folder)
    config = _config_of(folder, manifest)
    _check_weights(folder)
    files = _kept(folder, manifest)
    weights = _best(folder, manifest)
    # the run's own files in place of the encoder's folder, which may be gone
    config = dataclasses.replace(config, weights=str(folder / ENCODER))
    place = pick_device("cpu" if config.int8 and device == "auto" else device)
    shape = EncoderConfig.from_file(files["config.json"])
    model = _model_of(folder, config, shape, weights, place)
    tokenizer = build_tokenizer(config, shape)
    return TrainedRun(folder, manifest, config, model, tokenizer)


def finished_runs(parent: Path) -> list[Path]:
    """The folders of finished runs that have weights, the latest first."""
    ended = [path.parent.parent for path in parent.glob("*/finished/state.json")]
    whole = [run for run in ended if any((run / ENCODER).glob("*")) and any(run.glob("best-*"))]
    return sorted(whole, key=lambda run: -(run / MANIFEST).stat().st_mtime)


def _folder_of(path: Path) -> Path:
    folder = path.parent if path.name == MANIFEST else path
    check_name(folder, str(folder))
    if not folder.is_dir():
        raise InputError(f"{folder}: no such run; train one with: {TRAIN_ONE}")
    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"{folder}: no run's folder (it has no {MANIFEST}); the main job names its folder in "
            f"its first lines. Train a run with: {TRAIN_ONE}"
        )
    return folder


def _config_of(folder: Path, manifest: Mapping[str, Any]) -> ResolvedConfig:
    """The settings of the run, as its manifest keeps them."""
    kept = manifest.get("config")
    if not isinstance(kept, dict) or "option" not in kept:
        raise InputError(f"{folder}: no run of the main job; train one with: {TRAIN_ONE}")
    known = {entry.name for entry in dataclasses.fields(ResolvedConfig)}
    if unknown := sorted(kept.keys() - known):
        log.warning("%s: settings that are passed over, as unknown: %s", folder, ", ".join(unknown))
    values = {name: _frozen(value) for name, value in kept.items() if name in known}
    try:
        return ResolvedConfig(**values)
    except (InputError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{folder / MANIFEST}: its settings are none ({error})") from error


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _kept(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Path]:
    """The run's copies of the encoder's files, each as its hash says."""
    hashes = manifest.get("sha256")
    hashes = hashes if isinstance(hashes, dict) else {}
    found = {name: folder / ENCODER / name for name in KEPT if name in hashes}
    missing = [name for name, path in found.items() if not path.is_file()]
    if missing or not found:
        names = " and ".join(missing or KEPT[:2])
        raise InputError(
            f"{folder}: lacks {names} in {ENCODER}/, as runs of earlier versions do; give its "
            f"command again with --resume, or copy {names} there from the folder of its encoder"
        )
    for name, path in found.items():
        if durable_files.sha256_of(path) != hashes[name]:
            raise InputError(f"{path}: is not the file that the run was trained with (SHA-256)")
    return found


def _check_weights(folder: Path) -> None:
    if not any(folder.glob("best-*")):
        raise InputError(
            f"{folder}: a run without weights, as the cells of a grid are, since a grid keeps "
            f"scores alone; train it again with: {MAIN_JOB} --like {folder}"
        )


def _best(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of the best epoch."""
    epoch = manifest.get("best_epoch")
    if type(epoch) is not int:
        raise InputError(f"{folder / MANIFEST}: names no best epoch")
    try:
        return CheckpointStore(folder).load_best(epoch)[0]
    except DamagedCheckpoint as error:
        raise InputError(f"{error}; train it again with --like {folder}") from error


def _model_of(
    folder: Path,
    config: ResolvedConfig,
    shape: EncoderConfig,
    weights: Mapping[str, Tensor],
    device: torch.device,
) -> MultitaskBert:
    """The model as the main job builds it, with the run's weights in place of new ones."""
    model = build_model(config, BertModel.empty(shape, config.attention), device)
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(f"{folder}: its weights do not fit its settings ({said})") from error
    return model.to(device).eval()

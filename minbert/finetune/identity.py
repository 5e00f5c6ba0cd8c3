"""What a run is, in JSON: the settings and files that decide its result, and how it went."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from minbert.data.examples import SPLITS
from minbert.encoder import hub, weights
from minbert.finetune.config import RunConfig
from minbert.support import durable_files
from minbert.support.runtime import Stopped
from minbert.tasks.course import TASKS
from minbert.tasks.mixing import EQUAL
from minbert.training.loop import Progress

# flags that change where or how a run happens, not what comes out
INDIFFERENT = ("output_dir", "resume", "checkpoint_every", "strict", "use_gpu", "device")
_PLACES = ("weights", "data_dir", *(f"{t}_{s}" for t in TASKS for s in SPLITS))


def settings(config: RunConfig) -> dict[str, Any]:
    """The settings that, with the contents of its input files, decide a run's result."""
    every = dataclasses.asdict(config)
    if config.ranks == 1:  # as a run had it before there were more, under the same name
        del every["ranks"]
    if config.head_lr is None:
        del every["head_lr"]
    return _as_json(
        {
            name: value
            for name, value in every.items()
            if name not in (*INDIFFERENT, *_PLACES) and not name.endswith("_out")
        }
    )


def run_name(config: RunConfig) -> str:
    """A readable name for the configuration, with a hash that tells any two apart."""
    decisive = {**settings(config), **{name: getattr(config, name) for name in _PLACES}}
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    robin = {None: "", EQUAL: "rrobin"}.get(config.rrobin, f"rrobin-{config.rrobin}")
    words = [config.option, robin, "+".join(config.trained_tasks)]
    words += [
        name
        for name in ("smart", "r3f", "r4f", "freelb", "stdpp", "rlayer", "cross_encoder")
        if getattr(config, name)
    ]
    words += [f"seed{config.seed}", digest[:8]]
    return "-".join(word for word in words if word)


def input_files(config: RunConfig) -> dict[str, Path]:
    """Every data and weights file that the run reads."""
    keys = [f"{task}_{split}" for task in config.evaluated_tasks for split in ("dev", "test")]
    keys += [f"{task}_train" for task in config.trained_tasks]
    folder = Path(str(config.weights))
    paths = {key: Path(getattr(config, key)) for key in keys}
    paths["weights"] = weights.weights_file(folder)
    paths |= {name: folder / name for name in ("config.json", *weights.VOCAB_FILES)}
    return {key: path for key, path in paths.items() if path.is_file()}


def input_hashes(config: RunConfig) -> dict[str, str]:
    """SHA-256 of every one of them."""
    return {key: durable_files.sha256_of(path) for key, path in input_files(config).items()}


def new_manifest(config: Any, sha256: dict[str, str], device: torch.device) -> dict[str, Any]:
    """The manifest of a run that begins. `config` is a dataclass."""
    return {
        "status": "running",
        "config": _as_json(dataclasses.asdict(config)),
        "sha256": sha256,
        "published": hub.origin(Path(str(config.weights)), sha256),
        **machine(device),
    }


def machine(device: torch.device) -> dict[str, Any]:
    """Where something ran, and with which versions of what."""
    packages = ("torch", "numpy", "scipy", "tokenizers", "safetensors")
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": gpu or device.type,
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "versions": {
            "python": sys.version.split()[0],
            **{package: version(package) for package in packages},
        },
        "git": _git_state(),
    }


@contextlib.contextmanager
def recorded(
    path: Path, manifest: dict[str, Any], progress: Progress, began: float
) -> Iterator[None]:
    """Keep the manifest at `path` true: running, then how it ended, with every epoch's scores.

    `began` is when the run did, reading included, in monotonic seconds.
    """
    earlier = _earlier_seconds(path)

    def record(status: str) -> None:
        manifest["status"] = status
        manifest["wall_seconds"] = round(earlier + time.monotonic() - began, 1)
        manifest["epochs"] = progress.history
        durable_files.write_json(path, manifest)

    record("running")
    try:
        yield
    except Stopped as error:
        record(f"stopped by {error}")
        raise
    except Exception as error:  # recorded whatever it is, and raised again
        record(f"failed: {error}")
        raise
    record("finished")


def _earlier_seconds(path: Path) -> float:
    """Seconds that the same run took before it was resumed."""
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["wall_seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _as_json(value: dict[str, Any]) -> dict[str, Any]:
    """The same after a round trip, so that it compares equal to what is read back."""
    read: dict[str, Any] = json.loads(json.dumps(value))
    return read


def _git_state() -> dict[str, Any] | None:
    """Commit of the code and whether its files differ from it; None outside a repository."""
    here = str(Path(__file__).resolve().parents[1])

    def ask(*arguments: str) -> str:
        command = ["git", "-C", here, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = bool(ask("status", "--porcelain", "--untracked-files=no", "."))
        return {"commit": ask("rev-parse", "HEAD"), "changed": changed}
    except (OSError, subprocess.CalledProcessError):
        return None

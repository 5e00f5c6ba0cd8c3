"""The manifest of how a run went: machine, versions, status, seconds, the scores of each epoch."""

import contextlib
import dataclasses
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

from minbert.encoder import hub
from minbert.support import durable_files, untrusted
from minbert.support.errors import InputError, Stopped
from minbert.support.places import IS_INSTALLED
from minbert.training.progress import Progress
from minbert.training.run_folder import MANIFEST


def new_manifest(config: Any, sha256: dict[str, str], device: torch.device) -> dict[str, Any]:
    """The manifest of a run that begins; `config` is a dataclass."""
    return {
        "status": "running",
        "config": as_json(dataclasses.asdict(config)),
        "sha256": sha256,
        "published": hub.origin(Path(str(config.weights)), sha256),
        **machine(device),
    }


def machine(device: torch.device) -> dict[str, Any]:
    """The machine that this process runs on, and the versions of Python, packages and code."""
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
    """Write the manifest to `path` at once, and again at the end: how it ended, scores, seconds.

    `began` is when the run began, before it read anything, in monotonic seconds.
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
    except Exception as error:  # whatever it is, the manifest names it
        record(f"failed: {error}")
        raise
    record("finished")


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a run, from its file or folder. Raises InputError."""
    path = path / MANIFEST if path.is_dir() else path
    manifest = untrusted.read_object(path, finite=False)  # a score may be no number
    if "status" not in manifest:
        raise InputError(f"{path}: not a run's manifest (it has no status)")
    return manifest


def read_finished(path: Path) -> dict[str, Any]:
    """The manifest of a finished run, from its file or folder. Raises InputError."""
    manifest = read_manifest(path)
    if manifest["status"] != "finished":
        raise InputError(
            f"{path}: this run has not finished ({manifest['status']}); its command with --resume "
            "goes on"
        )
    return manifest


def _earlier_seconds(path: Path) -> float:
    """Seconds that this run took before it was resumed."""
    try:
        return float(untrusted.read_object(path, finite=False)["wall_seconds"])
    except (InputError, ValueError, KeyError, TypeError):
        return 0.0


def _git_state() -> dict[str, Any] | None:
    """Commit of the code and whether its files differ from it; None outside a repository.

    An installed package may lie in a repository that is not its own.
    """
    if IS_INSTALLED:
        return None
    here = str(Path(__file__).resolve().parents[1])

    def ask(*arguments: str) -> str:
        command = ["git", "-C", here, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = bool(ask("status", "--porcelain", "--untracked-files=no", "."))
        return {"commit": ask("rev-parse", "HEAD"), "changed": changed}
    except (OSError, subprocess.CalledProcessError):
        return None


def as_json(value: dict[str, Any]) -> dict[str, Any]:
    """A JSON object as it will be read back, to be compared with what was saved."""
    return json.loads(json.dumps(value))

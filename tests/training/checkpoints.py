"""What tests save in checkpoints, and the ways in which they damage one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Groups = dict[str, dict[str, Tensor]]


def groups(value: float = 1.0) -> Groups:
    return {
        "model": {"weight": torch.full((3, 2), value), "bias": torch.randn(4)},
        "optimizer": {"0.exp_avg": torch.randn(3, dtype=torch.float64)},
        "objective": {},
    }


def facts(epochs: int = 0, best: int | None = None, **more: Any) -> dict[str, Any]:
    return {"epochs_scored": epochs, "best_epoch": best, **more}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)


def drop_from_manifest(folder: Path, name: str, *, value: object = None) -> None:
    """Change the manifest alone: `name` goes, or gets another value."""
    path = folder / "manifest.json"
    told = json.loads(path.read_text())
    del told["sha256"][name]
    if value is not None:
        told["sha256"][name] = value
    path.write_text(json.dumps(told))


def _forge_facts(folder: Path) -> None:
    """Other facts than were saved, which a manifest without them would let pass."""
    drop_from_manifest(folder, "state.json")
    (folder / "state.json").write_text(json.dumps(facts(step=99)))


def _forget_group(folder: Path, name: str) -> None:
    """A group that neither the manifest nor the folder has."""
    drop_from_manifest(folder, f"{name}.safetensors")
    (folder / f"{name}.safetensors").unlink()


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _make_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("no folder")


DAMAGE: dict[str, Callable[[Path], None]] = {
    "weights": lambda folder: _flip(folder / "model.safetensors"),
    "manifest": lambda folder: (folder / "manifest.json").unlink(),
    "facts": lambda folder: (folder / "state.json").write_bytes(b"\x00" * 40),
    "facts gone": lambda folder: (folder / "state.json").unlink(),
    "facts not in the manifest": _forge_facts,
    "group not in the manifest": lambda f: drop_from_manifest(f, "optimizer.safetensors"),
    "group nowhere": lambda folder: _forget_group(folder, "objective"),
    "hash of another kind": lambda f: drop_from_manifest(f, "model.safetensors", value=[1]),
    "manifest a list": lambda folder: (folder / "manifest.json").write_text('{"sha256": []}'),
    "manifest nested": lambda folder: (folder / "manifest.json").write_text("[" * 10**5),
    "folder for a file": lambda folder: _make_folder(folder / "model.safetensors"),
    "folder for the manifest": lambda folder: _make_folder(folder / "manifest.json"),
    "file for the folder": _make_file,
}

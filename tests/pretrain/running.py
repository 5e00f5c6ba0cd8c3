"""How tests run the pretraining command over a small text, and what they read of it afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from minbert.pretrain import __main__ as pretrain

SHAPE = ["--layers", "1", "--hidden_size", "32", "--attention_heads", "2", "--positions", "32"]
SMALL = ["--sequence_length", "24", "--batch_size", "16", "--micro_batch_size", "6"]
SMALL += ["--held_out", "0.1"]
SMALL += ["--output_dir", "out", "--cache", "cache", "--scorings", "3", "--checkpoint_every", "4"]


def run(*argv: str, start: tuple[str, ...] = ("--vocab", "vocab")) -> int:
    shape = [] if "--weights" in start else SHAPE
    return pretrain.main(["--text", "text.txt", *start, *shape, *SMALL, *argv])


def run_taught(*argv: str, start: tuple[str, ...] = ("--vocab", "vocab")) -> int:
    """The same with the teacher of the fixture `taught`."""
    return run("--teacher", "better", *argv, start=start)


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()[-1]


def weights_of(folder: Path | str) -> bytes:
    return (Path(folder) / "model.safetensors").read_bytes()


def manifest() -> dict[str, Any]:
    return json.loads(Path("out/manifest.json").read_text())

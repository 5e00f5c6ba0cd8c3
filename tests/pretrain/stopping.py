"""Runs of pretraining that are stopped on the way, and compared with one that is not."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest


def stop_at(monkeypatch: pytest.MonkeyPatch, objective: type, step: int) -> None:
    """Let SIGTERM come during the `step`-th backward pass of `objective`, counted from 1."""
    backward, calls = objective.backward, [0]

    def interrupted(*args: Any, **settings: Any) -> Any:
        calls[0] += 1
        if calls[0] == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return backward(*args, **settings)

    monkeypatch.setattr(objective, "backward", interrupted)


def assert_same_run() -> None:
    """The runs in out/ and whole/ wrote the same weights, and the same log but for its speeds."""
    out, whole = (Path(name, "encoder", "model.safetensors") for name in ("out", "whole"))
    assert out.read_bytes() == whole.read_bytes()
    logs = [
        [{k: v for k, v in json.loads(line).items() if k != "tokens_per_s"} for line in text]
        for text in (
            Path(f"{name}/log.jsonl").read_text().splitlines() for name in ("out", "whole")
        )
    ]
    assert logs[0] == logs[1]

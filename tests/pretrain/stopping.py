"""Runs of pretraining that are stopped on the way, and compared with one that is not."""

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from minbert.pretrain.budget import Costs
from minbert.training import group


def stop_at(monkeypatch: pytest.MonkeyPatch, objective: type, step: int) -> None:
    """Let SIGTERM come during the `step`-th batch of `objective`, counted from 1."""
    passes, calls = objective.passes, [0]

    def interrupted(*args: Any, **settings: Any) -> Any:
        calls[0] += 1
        if calls[0] == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return passes(*args, **settings)

    monkeypatch.setattr(objective, "passes", interrupted)


def check_stops(
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[..., int],
    objective: type,
    flags: Sequence[str],
) -> None:
    """A run of 9 steps that is stopped in the 1st, the 4th and the 7th is one that never was."""
    assert run("--steps", "9", "--output_dir", "whole", *flags) == 0
    for more, resume in ((1, ()), (3, ("--resume",)), (3, ("--resume",))):
        stop_at(monkeypatch, objective, more)
        assert run("--steps", "9", *resume, *flags) == 143
        assert not Path("out/encoder").exists()
    assert run("--steps", "9", "--resume", *flags) == 0
    assert not list(Path().glob("out.old*"))  # as a run that begins afresh would leave
    assert_same_run()


def affording_differently(work: Any, stop: Any) -> Any:
    """The work of a rank by whose measurements other numbers of steps fit into a budget."""
    Costs.steps = lambda *_: 4 + group.rank()
    return work(stop)


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

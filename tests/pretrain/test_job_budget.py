"""A time budget fixes the number of steps once, and the run spends no more than it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from minbert.pretrain import budget, objective
from minbert.pretrain.budget import Costs
from tests.pretrain.running import complaint, manifest, run, weights_of


def test_a_time_budget_fixes_the_steps_once(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(budget, "_measure", lambda *_, **__: Costs(10.0, 5.0, 0.0))
    passes, calls = objective.PretrainingObjective.passes, [0]

    def interrupted(*args: Any, **settings: Any) -> Any:
        calls[0] += 1
        if calls[0] == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return passes(*args, **settings)

    monkeypatch.setattr(objective.PretrainingObjective, "passes", interrupted)
    assert run("--time_budget", "2m") == 143
    steps = manifest()["total_steps"]
    assert 8 <= steps <= 10  # (120 · .98 - 3 · 5 - a second or so) / 10
    monkeypatch.setattr(budget, "_measure", lambda *_, **__: Costs(1.0, 1.0, 0.0))
    assert run("--time_budget", "2m", "--resume") == 0
    assert manifest()["total_steps"] == steps
    assert manifest()["epochs"][-1]["step"] == steps
    rates = [json.loads(line)["lr"] for line in Path("out/log.jsonl").read_text().splitlines()]
    assert len(rates) == steps
    assert rates[-1] < 0.2 * max(rates)


def test_a_time_budget_holds_before_the_first_checkpoint_too(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in its second step, a run goes on with the number of steps it had fixed."""
    passes, calls = objective.PretrainingObjective.passes, [0]

    def killed(*args: Any, **settings: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        return passes(*args, **settings)

    monkeypatch.setattr(budget, "_measure", lambda *_, **__: Costs(10.0, 5.0, 0.0))
    monkeypatch.setattr(objective.PretrainingObjective, "passes", killed)
    with pytest.raises(KeyboardInterrupt):
        run("--time_budget", "2m")
    monkeypatch.setattr(budget, "_measure", lambda *_, **__: Costs(1.0, 1.0, 0.0))
    assert run("--time_budget", "2m", "--resume") == 0
    assert 8 <= manifest()["total_steps"] <= 10


def test_checkpoints_are_paid_for() -> None:
    """A step a second and a checkpoint of two every tenth, and three scorings of one and two."""
    assert Costs(1.0, 1.0, 2.0).steps(75.0, scorings=3, checkpoint_every=10) == 50


def test_without_a_checkpoint_a_time_budget_is_measured_anew(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds, budget_given in ((10.0, "2m"), (10.0, "3m")):
        monkeypatch.setattr(budget, "_measure", lambda *_, s=seconds, **__: Costs(s, 5.0, 0.0))
        assert run("--time_budget", budget_given, "--resume") == 0
        found = manifest()["total_steps"]
        shutil.rmtree("out/finished")
    assert found > 12  # those of 3m


def test_a_time_budget_is_spent_and_no_more(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of a second a step, a scoring and a checkpoint, so that load does not matter."""
    began, ticks = time.monotonic(), itertools.count()
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: began + next(ticks)))
    assert run("--time_budget", "1m") == 0
    seconds = manifest()["total_steps"] * (1 + 1 / 4) + 3 * (1 + 2)
    measuring = 4 * 2 + 2 + 2  # steps, a scoring, a checkpoint: a second each and one between
    assert 60 - measuring - 5 <= seconds <= 0.98 * 60


def test_measuring_leaves_no_trace(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--steps", "5", "--output_dir", "plain") == 0
    parts_total = budget._affordable

    def five(*args: Any) -> int:
        parts_total(*args)
        return 5

    monkeypatch.setattr(budget, "_affordable", five)
    assert run("--time_budget", "20s") == 0
    assert weights_of("out/encoder") == weights_of("plain/encoder")


def test_a_budget_that_is_too_short(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--time_budget", "0.01s") == 2
    assert "--time_budget 0.01s: too short" in complaint(capsys)
    assert not Path("out").exists()

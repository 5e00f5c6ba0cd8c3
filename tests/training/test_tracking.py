"""A tracker follows the log: the same values, each step once, whatever happened to the process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from minbert.support.durable_files import JsonLines
from minbert.support.errors import InputError, RunError
from minbert.training import trackers, tracking
from minbert.training.tracking import TrackedLines, followed

Point = tuple[int, dict[str, float]]


class Kept:
    """A tracker that keeps its points; it fails from a step on."""

    watch = "nothing"

    def __init__(self, fails_at: int = 10**9) -> None:
        self.points: list[Point] = []
        self.closed, self._fails_at = False, fails_at

    def add(self, step: int, values: Mapping[str, float]) -> None:
        if step >= self._fails_at:
            raise RuntimeError("full")
        self.points.append((step, dict(values)))

    def close(self) -> None:
        self.closed = True


def row(step: int, task: str = "a", **more: float) -> dict[str, Any]:
    shared = {"lr": 0.1 * step, "grad_norm": 2.0, "tokens_per_s": 9}
    return {"step": step, "task": task, "tokens": 7, "loss": float(step), **more, **shared}


def scored(step: int, score: float) -> dict[str, Any]:
    return {"epoch": step, "step": step, "scores": {"a": score}, "criterion": score / 2}


def lines_of(path: Path, rows: Sequence[dict[str, Any]]) -> JsonLines:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return JsonLines(path)


def test_every_value_of_a_line_has_a_curve(tmp_path: Path) -> None:
    kept, log = Kept(), tmp_path / "log.jsonl"
    lines = TrackedLines(lines_of(log, []), kept, [])
    lines.write([row(3, "a", adversarial=0.5), row(3, "b")])
    lines.close()
    own = {"train/a/tokens": 7, "train/a/loss": 3.0, "train/a/adversarial": 0.5}
    other = {"train/b/tokens": 7, "train/b/loss": 3.0}
    shared = {"train/lr": 0.1 * 3, "train/grad_norm": 2.0, "train/tokens_per_s": 9}
    assert kept.points == [(3, {**own, **other, **shared})]
    assert [json.loads(line)["task"] for line in log.read_text().splitlines()] == ["a", "b"]
    assert kept.closed


def test_scores_come_between_the_steps_around_them_and_the_last_ones_at_the_end(
    tmp_path: Path,
) -> None:
    kept, history = Kept(), []
    lines = TrackedLines(lines_of(tmp_path / "log.jsonl", []), kept, history)
    lines.write([row(0), row(1)])
    history.append(scored(2, 0.5))
    lines.write([row(2)])
    history.append(scored(3, 0.75))
    lines.close()
    assert [step for step, _ in kept.points] == [0, 1, 2, 2, 3]
    assert kept.points[2][1] == {"dev/a": 0.5, "dev/criterion": 0.25}
    assert kept.points[4][1] == {"dev/a": 0.75, "dev/criterion": 0.375}


def test_a_run_that_goes_on_gives_the_curves_of_one_that_never_stopped(tmp_path: Path) -> None:
    whole, scores = [row(step) for step in range(6)], {1: scored(2, 0.5), 3: scored(4, 0.25)}

    def go_on(lines: TrackedLines, history: list[Any], first: int) -> None:
        for step in range(first, 6):
            lines.write([whole[step]])
            history += [scores[step]] if step in scores else []
        lines.close()

    never, again, history = Kept(), Kept(), []
    go_on(TrackedLines(lines_of(tmp_path / "calm.jsonl", []), never, history), history, 0)
    # a checkpoint after step 3; the log was ahead of it, and its last line is torn
    killed = tmp_path / "killed.jsonl"
    lines = lines_of(killed, whole[:5])
    killed.write_text(killed.read_text() + '{"step": 5, "ta')
    lines.cut_before(4)
    history = [scores[1], scores[3]]
    go_on(TrackedLines(lines, again, history), history, 4)
    assert again.points == never.points
    assert sorted({step for step, _ in again.points}) == list(range(6))


def test_a_tracker_that_fails_costs_the_curves_and_not_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept, log = Kept(fails_at=1), tmp_path / "log.jsonl"
    lines = TrackedLines(lines_of(log, []), kept, [])
    for step in range(3):
        lines.write([row(step)])
    lines.close()
    assert len(log.read_text().splitlines()) == 3
    assert [step for step, _ in kept.points] == [0]
    assert caplog.text.count("--track: no more curves") == 1


def test_one_line_where_a_tracker_cannot_begin_or_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = JsonLines(tmp_path / "log.jsonl")
    monkeypatch.setattr(tracking, "TRACKERS", {"wandb": lambda *_: Kept(1 / 0)})
    with pytest.raises(RunError, match="--track wandb: cannot begin"):
        followed(lines, "wandb", tmp_path, {}, [])
    assert followed(lines, None, tmp_path, {}, []) is lines
    lines.close()
    monkeypatch.setattr(trackers, "find_spec", lambda _name: None)
    trackers.check(None)
    with pytest.raises(InputError, match="pip install trackio"):
        trackers.check("trackio")

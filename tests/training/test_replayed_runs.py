"""Whole runs of which most steps are replayed beside the same runs as ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minbert.finetune.microbatches import MicroBatches
from minbert.support.errors import Stopped
from tests.helpers import same_tensors
from tests.training.replays import Again, objective_of, replayed, shape_as_on_a_gpu
from tests.training.training_runs import SHAPE, Run, make_run, stopping


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    shape_as_on_a_gpu(monkeypatch)


def prepared(
    folder: Path, name: str, *, replays: bool, piece: int | None = None, **how: Any
) -> Run:
    run = make_run(folder, SHAPE, **{"epochs": 3, **how})
    run.objective = objective_of(name, run.model)
    if replays:
        run.again = Again(run.model)
        run.objective = replayed(run.objective, run.again)
    if piece is not None:
        run.objective = MicroBatches(run.objective, piece)
    return run


def outcome(run: Run) -> tuple[Any, list[dict[str, Any]]]:
    run()
    log = [{k: v for k, v in line.items() if k != "tokens_per_s"} for line in run.log]
    return run.model.state_dict(), log


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("plain", {"summed": True}),
        ("plain", {"piece": 3}),
        ("smart off", {}),
        ("smart shared", {"summed": True}),
        ("smart independent", {"piece": 2}),
        ("r4f", {}),
        ("freelb", {}),
    ],
    ids=str,
)
def test_a_run_of_replays_is_the_run_without(
    tmp_path: Path, name: str, how: dict[str, Any]
) -> None:
    weights, log = outcome(prepared(tmp_path / "as ever", name, replays=False, **how))
    run = prepared(tmp_path / "replayed", name, replays=True, **how)
    same, same_log = outcome(run)
    assert run.again.replays > len(log) / 2 > run.again.recorded  # type: ignore[attr-defined]
    assert same_tensors(weights, same)
    assert log == same_log


@pytest.mark.slow
def test_a_run_resumed_among_replays_is_the_run_that_never_stopped(tmp_path: Path) -> None:
    def run(folder: str) -> Run:
        return prepared(tmp_path / folder, "freelb", replays=True, summed=True, piece=3, epochs=5)

    weights, log = outcome(run("whole"))
    stopped = run("stopped")
    stopped.before_batch(stopping(stopped, 12))
    with pytest.raises(Stopped):
        stopped()
    assert stopped.again.replays > 0  # type: ignore[attr-defined]
    resumed = run("stopped")
    resumed(resumed=True)
    assert resumed.again.replays > 0  # type: ignore[attr-defined]
    assert same_tensors(weights, resumed.model.state_dict())
    assert [line["loss"] for line in log] == [line["loss"] for line in resumed.log]

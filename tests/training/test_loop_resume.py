"""A run can be stopped or killed anywhere, and goes on from its checkpoint to the same weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from minbert.encoder.config import EncoderConfig
from minbert.model import MultitaskBert
from minbert.support.durable_files import JsonLines
from minbert.support.errors import Stopped
from minbert.training import checkpoint
from minbert.training.checkpoint import CheckpointStore
from minbert.training.plan import Evaluation
from tests.helpers import rest_slow, same_tensors
from tests.training.training_runs import SIGTERM, Run, assert_same_run, make_run, scripted, stopping


@pytest.mark.parametrize("step", rest_slow(5, [0, 4, 5, 6, 11, 1, 2, 3, 7, 8, 9, 10]))
def test_a_run_stopped_at_any_step_goes_on_to_the_same_weights(
    tmp_path: Path, shape: EncoderConfig, straight: Run, step: int
) -> None:
    assert straight.plan.total_steps == 12
    first = make_run(tmp_path, shape, smart=True)
    first.before_batch(stopping(first, step))
    with pytest.raises(Stopped) as caught:
        first()
    assert caught.value.signum == SIGTERM
    assert len(first.log) == step + 1  # the step under way was finished
    again = make_run(tmp_path, shape, smart=True, init=99)
    progress = again(resumed=True)
    assert progress.step == 12
    assert_same_run(again, straight)


@pytest.mark.parametrize("step", [2, 3, 5, 6, 8, 11])
def test_a_run_killed_at_any_step_goes_on_from_its_last_checkpoint(
    tmp_path: Path, shape: EncoderConfig, straight: Run, step: int
) -> None:
    def kill(now: int) -> None:
        if now == step:
            raise KeyboardInterrupt

    first = make_run(tmp_path, shape, smart=True, checkpoint_every=2)
    first.before_batch(kill)
    with pytest.raises(KeyboardInterrupt):
        first()
    again = make_run(tmp_path, shape, smart=True, init=99, checkpoint_every=2)
    again(resumed=True)
    assert_same_run(again, straight)


def test_a_run_resumed_after_its_last_step_changes_nothing(
    tmp_path: Path, shape: EncoderConfig
) -> None:
    first = make_run(tmp_path, shape)
    done = first()
    again = make_run(tmp_path, shape, init=99)
    progress = again(resumed=True)
    assert dataclasses.asdict(progress) == dataclasses.asdict(done)
    assert same_tensors(again.model.state_dict(), first.model.state_dict())


def test_a_stop_while_dev_is_scored_keeps_the_epoch(
    tmp_path: Path, shape: EncoderConfig, straight: Run
) -> None:
    def interrupted(_model: MultitaskBert) -> Evaluation:
        raise Stopped(SIGTERM)

    first = make_run(tmp_path, shape, smart=True)
    first.change(evaluate=interrupted)
    with pytest.raises(Stopped):
        first()
    again = make_run(tmp_path, shape, smart=True, init=99)
    assert again(resumed=True).step == 12
    assert_same_run(again, straight)


def test_the_best_epoch_survives_a_resume(tmp_path: Path, shape: EncoderConfig) -> None:
    first = make_run(tmp_path, shape, epochs=3)
    first.change(evaluate=scripted([0.9]))
    with pytest.raises(StopIteration):  # killed while scoring the second epoch
        first()
    again = make_run(tmp_path, shape, epochs=3, init=99)
    again.change(evaluate=scripted([0.1, 0.2]))
    progress = again(resumed=True)
    assert progress.best_epoch == 1
    assert [row["criterion"] for row in progress.history] == [0.9, 0.1, 0.2]
    CheckpointStore(tmp_path).load_best(1)


def test_checkpoints_come_when_due_and_at_each_epochs_end(
    tmp_path: Path, shape: EncoderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[tuple[int, int]] = []
    original = CheckpointStore.save_step

    def noted(self: CheckpointStore, step: int, tensors: Any, facts: Any) -> None:
        saved.append((step, facts["epochs_scored"]))
        original(self, step, tensors, facts)

    monkeypatch.setattr(CheckpointStore, "save_step", noted)
    make_run(tmp_path, shape, checkpoint_every=4)()
    assert saved == [(4, 0), (6, 1), (8, 1), (12, 2)]


def test_facts_are_in_every_checkpoint(tmp_path: Path, shape: EncoderConfig) -> None:
    make_run(tmp_path, shape)()
    for folder in tmp_path.glob("step-*"):
        assert checkpoint.load(folder)[1]["who"] == "test"


def test_no_checkpoint_relies_on_lines_of_the_log_that_a_power_cut_takes(
    tmp_path: Path, shape: EncoderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed, saved = [0], []
    log, save = tmp_path / "log.jsonl", CheckpointStore.save_step
    monkeypatch.setattr(JsonLines, "sync", lambda own: flushed.append(own.path.stat().st_size))

    def saving(store: CheckpointStore, step: int, *rest: Any) -> None:
        saved.append((flushed[-1], log.stat().st_size))
        save(store, step, *rest)

    monkeypatch.setattr(CheckpointStore, "save_step", saving)
    make_run(tmp_path, shape, checkpoint_every=2)()
    assert len(saved) > 3
    assert all(on_disk == written > 0 for on_disk, written in saved)

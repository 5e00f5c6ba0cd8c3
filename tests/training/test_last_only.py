"""A run whose last model counts: one score, at the end, wherever it was stopped before."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from minbert.support.errors import Stopped
from minbert.training.checkpoint import CheckpointStore
from tests.helpers import rest_slow, same_tensors
from tests.training.training_runs import (
    SHAPE,
    SIGTERM,
    Run,
    assert_same_run,
    make_run,
    scripted,
    stopping,
)


def last_only(folder: Path, init: int = 1, checkpoint_every: int = 500) -> Run:
    run = make_run(
        folder, SHAPE, smart=True, epochs=3, init=init, checkpoint_every=checkpoint_every
    )
    run.change(last_only=True)
    return run


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = last_only(tmp_path_factory.mktemp("straight"))
    run()
    return run


def test_dev_is_scored_once_and_the_last_model_is_kept(tmp_path: Path) -> None:
    run = last_only(tmp_path)
    run.change(evaluate=scripted([0.3]))  # a second score would end the script
    progress = run()
    (row,) = progress.history
    assert (row["epoch"], row["step"]) == (3, run.plan.total_steps) == (progress.best_epoch, 18)
    assert same_tensors(CheckpointStore(tmp_path).load_best(3)[0], run.model.state_dict())
    assert row["train_seconds"] > 0


def test_the_same_steps_are_trained_as_with_scores_between(tmp_path: Path, straight: Run) -> None:
    between = make_run(tmp_path, SHAPE, smart=True, epochs=3)
    between()
    assert_same_run(between, straight)


@pytest.mark.parametrize("step", rest_slow(4, [0, 6, 11, 17, 5, 7, 12]))
def test_a_run_that_was_stopped_ends_like_one_that_was_not(
    tmp_path: Path, straight: Run, step: int
) -> None:
    first = last_only(tmp_path)
    first.before_batch(stopping(first, step))
    with pytest.raises(Stopped) as caught:
        first()
    assert caught.value.signum == SIGTERM
    progress = last_only(tmp_path, init=99)(resumed=True)
    again = CheckpointStore(tmp_path).load_best(3)[0]
    assert same_tensors(again, straight.model.state_dict())
    assert [row["step"] for row in progress.history] == [18]


@pytest.mark.parametrize("every", rest_slow(2, [2, 6, 1, 3]))
@pytest.mark.parametrize("step", rest_slow(2, [7, 12, 13]))
def test_a_killed_run_goes_on_from_a_checkpoint_at_an_epochs_end_too(
    tmp_path: Path, straight: Run, every: int, step: int
) -> None:
    def kill(now: int) -> None:
        if now == step:
            raise KeyboardInterrupt

    first = last_only(tmp_path, checkpoint_every=every)
    first.before_batch(kill)
    with pytest.raises(KeyboardInterrupt):
        first()
    saved = CheckpointStore(tmp_path).load_last()
    assert saved is not None and saved[1]["step"] == step - step % every
    again = last_only(tmp_path, init=99)
    again(resumed=True)
    assert same_tensors(again.model.state_dict(), straight.model.state_dict())


def test_a_run_cut_short_within_an_epoch_is_scored_there(tmp_path: Path) -> None:
    run = last_only(tmp_path)
    run.plan = dataclasses.replace(run.plan, total_steps=8)
    (row,) = run().history
    assert (row["epoch"], row["step"]) == (2, 8)

"""Progress counts steps and seconds, names the best epoch, and tells how long the rest takes."""

from __future__ import annotations

import pytest

from minbert.training.plan import Evaluation
from minbert.training.progress import Progress


def scored(*criteria: float) -> Progress:
    """After epochs of 10 steps, 5 seconds of training and 1 of scoring each."""
    progress = Progress()
    for criterion in criteria:
        progress.step += 10
        progress.epoch_seconds = 5.0
        progress.record(Evaluation({"sst": criterion}, criterion, {}), 1.0)
    return progress


@pytest.mark.parametrize(
    ("criteria", "best"), [((0.3,), 1), ((0.1, 0.2), 2), ((0.2, 0.2), 1), ((-2.0, -3.0), 1)]
)
def test_the_best_epoch_is_the_first_of_the_highest(criteria: tuple[float, ...], best: int) -> None:
    progress = scored(*criteria)
    assert (progress.best_epoch, progress.best) == (best, max(criteria))
    assert progress.epochs_scored == len(criteria)
    assert [row["train_seconds"] for row in progress.history] == [5.0] * len(criteria)


def test_an_epoch_without_a_number_is_never_the_best() -> None:
    assert scored(float("nan")).best_epoch is None


def test_the_rest_goes_at_the_pace_of_the_last_epoch() -> None:
    progress = scored(0.1, 0.2)
    assert progress.time_left(40) == "; about 0:12 left"
    assert progress.time_left(20) == ""


def test_the_bar_shows_what_is_known() -> None:
    assert Progress().shown({}) == {}
    shown = scored(0.25).shown({"loss": 0.5, "tokens_per_s": 1234})
    assert shown == {"loss": "0.5000", "tokens/s": "1,234", "best dev": "0.2500"}

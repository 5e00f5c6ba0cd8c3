"""What rows differ in beyond their names is said."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from minbert.experiments.grid.cells import plan
from minbert.experiments.grid.config import GridConfig
from minbert.experiments.grid.experiment import Scale
from minbert.experiments.grid.unnamed import unnamed
from minbert.experiments.tables.ablate import experiment
from minbert.experiments.tables.command import Grid
from tests.experiments.grids import Place
from tests.helpers import TINY, save_encoder

ADVICE = {"finetune": {"lr": 3e-4, "head_lr": 3e-3, "batch_size": 16, "pooling": "mean"}}
RATES = ["--lr", "1e-4", "--batch_size", "4", "--pooling", "cls"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """With a second encoder beside the first, which recommends something."""
    place = Place.make(tmp_path)
    save_encoder(tmp_path / "other", TINY, initializer_range=0.2)
    (tmp_path / "other" / "recommended.json").write_text(json.dumps(ADVICE))
    return place


def data(place: Place) -> list[str]:
    return ["--data_dir", str(place.root / "data")]


def notes(place: Place, *flags: str, over: str) -> list[str]:
    extra = [*data(place), *flags]
    return unnamed(plan(experiment([over], extra), Scale(1, None, 2), 2, extra))


def test_two_encoders_recommend_two_things(place: Place) -> None:
    encoder, other = place.root / "encoder", place.root / "other"
    over = f"weights={encoder},{other}"
    (note,) = notes(place, over=over)
    row = f"--weights {other}"
    for said in (
        f"lr 1e-05, but 0.0003 in {row};",
        f"head_lr none, but 0.003 in {row};",
        f"batch_size 8, but 16 in {row};",
        f"pooling cls, but mean in {row}.",
    ):
        assert said in note
    assert "epochs" not in note  # the scale names them
    (rest,) = notes(place, *RATES[2:], over=over)
    assert "batch_size" not in rest
    assert "pooling" not in rest


def test_what_is_named_may_differ_and_what_is_the_same_need_not_be_named(place: Place) -> None:
    weights = ["--weights", str(place.root / "other")]
    over = f"weights={place.root / 'encoder'},{place.root / 'other'}"
    assert notes(place, *RATES, over=over) == []
    assert notes(place, *weights, over="batch_size=2,4") == []
    assert notes(place, *weights, over="smart") == []


def test_frozen_and_fine_tuned_have_rates_of_their_own(place: Place) -> None:
    over = "option=pretrain,finetune"
    assert notes(place, "--weights", str(place.root / "encoder"), over=over) == []
    (note,) = notes(place, "--weights", str(place.root / "other"), over=over)
    assert "batch_size 8, but 16 in --option finetune" in note
    assert "lr" not in note


def test_it_stands_in_the_log_and_under_the_table(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    over = f"weights={place.root / 'encoder'},{place.root / 'other'}"
    extra = data(place)
    with caplog.at_level(logging.WARNING, "minbert"):
        grid = Grid.planned(experiment([over], extra), GridConfig(out=str(place.out)), extra)
    (said,) = caplog.messages
    assert "batch_size 8, but 16" in said
    assert any("batch_size 8, but 16" in note for note in grid.experiment.notes)

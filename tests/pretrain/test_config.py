"""What a pretraining run is given: text and a time, read as they are written."""

from __future__ import annotations

import pytest

from minbert.pretrain.__main__ import parse
from minbert.pretrain.config import PretrainConfig
from minbert.support.errors import InputError


def test_a_run_needs_text() -> None:
    with pytest.raises(InputError, match="--text"):
        PretrainConfig()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("20m", 1200), ("1.5h", 5400), ("0.5m", 30)]
)
def test_times(text: str, seconds: float) -> None:
    assert PretrainConfig(text=("a",), time_budget=text).budget_seconds() == seconds


def test_a_piece_has_32_rows_unless_told_otherwise() -> None:
    assert parse(["--text", "a"]).micro_batch_size == 32
    assert parse(["--text", "a", "--micro_batch_size", "5"]).micro_batch_size == 5


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--micro_batch_size", "0"], "--micro_batch_size 0: must be above 0"),
        (["--micro_batch_size", "auto"], "--micro_batch_size: invalid int value: 'auto'"),
    ],
)
def test_other_pieces_are_refused(flags: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse(["--text", "a", *flags])

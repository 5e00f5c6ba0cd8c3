"""What a pretraining run is given: text and a time, read as they are written."""

from __future__ import annotations

import pytest

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

"""The shape of these tests' runs, and the run that is never stopped."""

from __future__ import annotations

import pytest

from minbert.encoder.config import EncoderConfig
from tests.training.training_runs import SHAPE, Run, make_run


@pytest.fixture
def shape() -> EncoderConfig:
    return SHAPE


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run with everything on that is never stopped."""
    run = make_run(tmp_path_factory.mktemp("straight"), SHAPE, smart=True)
    run()
    return run

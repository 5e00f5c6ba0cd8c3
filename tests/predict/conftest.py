"""Runs that the tests of this room ask; their encoders and data are gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import finished_run

MakeRun = Callable[..., Path]


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """`make_run(**settings)`: a finished run beside its `predictions`; the same one if made before.

    Its test files stay, as `data`, and its encoder is gone.
    """
    made: dict[str, Path] = {}

    def make(**settings: Any) -> Path:
        name = repr(sorted(settings.items()))
        if name not in made:
            folder = tmp_path_factory.mktemp("run")
            made[name] = finished_run(folder, **settings)
            shutil.rmtree(folder / "encoder")
        return made[name]

    return make


@pytest.fixture
def run(make_run: MakeRun) -> Path:
    """A run on the course's three tasks."""
    return make_run()

"""The sample as generated with the default seed, once for all tests of this folder."""

from __future__ import annotations

import pytest

from minbert.sample.tables import TASKS, SampleRow, examples

Sample = dict[str, dict[str, list[SampleRow]]]


@pytest.fixture(scope="session")
def sample() -> Sample:
    """The examples by task and split."""
    return {task.stem: dict(examples(task, seed=11711)) for task in TASKS}

"""How these tests read a file of the course that they have written."""

from __future__ import annotations

from pathlib import Path

import pytest

from minbert.data.examples import Split
from minbert.data.reading import read_split
from minbert.tasks.registry import TASKS
from tests.data.course_files import Reader


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """Writes bytes to a file and reads it as a split."""

    def read(content: bytes, task: str = "sst", name: str = "train", **settings: object) -> Split:
        path = tmp_path / "rows.csv"
        path.write_bytes(content)
        return read_split(TASKS[task], name, path, **settings)

    return read

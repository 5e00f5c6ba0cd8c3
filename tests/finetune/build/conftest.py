"""The files that every build reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.finetune.build.parts import TASK_NAMES
from tests.helpers import TINY, save_encoder, write_course_files


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all the course's files, tiny, and an encoder."""
    folder = tmp_path_factory.mktemp("place")
    write_course_files(folder / "data", rows=10, tasks=TASK_NAMES)
    torch.manual_seed(0)
    save_encoder(folder / "weights", TINY, initializer_range=0.3)
    return folder

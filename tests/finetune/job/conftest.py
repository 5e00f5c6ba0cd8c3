"""Where the main job runs in these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from minbert.encoder.config import EncoderConfig
from tests.finetune.job.running import COURSE_TASKS
from tests.helpers import save_encoder, write_course_files


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: EncoderConfig) -> Path:
    """A current folder with a tiny encoder and the course's files in `data/`."""
    save_encoder(tmp_path / "encoder", tiny)
    write_course_files(tmp_path / "data", tasks=(*COURSE_TASKS, "cfimdb"))
    monkeypatch.chdir(tmp_path)
    return tmp_path

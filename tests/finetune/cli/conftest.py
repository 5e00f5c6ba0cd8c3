"""How these tests give flags, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from minbert.encoder.config import EncoderConfig
from minbert.finetune import cli
from tests.helpers import save_encoder, write_course_files


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch):
    """Flags to a configuration, without looking for files."""
    monkeypatch.setattr(cli, "locate", lambda config, _given: config)
    return lambda *argv: cli.parse(argv)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: EncoderConfig) -> Path:
    """A current folder with a tiny encoder and the course's files in `data/`."""
    save_encoder(tmp_path / "encoder", tiny)
    write_course_files(tmp_path / "data", tasks=("sst", "para", "sts", "cfimdb"))
    monkeypatch.chdir(tmp_path)
    return tmp_path

"""The folder in which these tests run the pretraining command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import VOCAB
from tests.pretrain.taught import save_teacher
from tests.pretrain.texts import random_documents, write_documents


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with text and with the tests' vocabulary, made the current one."""
    write_documents(tmp_path / "text.txt", random_documents(150))
    (tmp_path / "quora.csv.xz").touch()
    (tmp_path / "vocab").mkdir()
    (tmp_path / "vocab" / "vocab.txt").write_text("".join(f"{token}\n" for token in VOCAB))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def taught(place: Path) -> Path:
    """That folder with a teacher in it."""
    save_teacher(place / "better")
    return place

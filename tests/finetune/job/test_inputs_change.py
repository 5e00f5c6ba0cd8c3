"""Input files that are written while the job works: what it hashed is what it used."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from minbert.finetune import job
from minbert.training import loop
from tests.finetune.job.running import MAIN, complaint, manifest, run, written

WEIGHTS = Path("encoder/model.safetensors")


def spoil(path: Path) -> None:
    """Write other numbers into the file, in place."""
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.seek(size // 2)
        stream.write(b"\x3d" * (size // 4))


def test_weights_written_over_during_training_change_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(*MAIN) == 0
    before, named = written(), manifest()["sha256"]["weights"]
    assert named == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    make_step, seen = loop.train_step, []

    def step(*arguments):
        if not seen:
            spoil(WEIGHTS)
        seen.append(0)
        make_step(*arguments)

    monkeypatch.setattr(loop, "train_step", step)
    assert run(*MAIN) == 0
    assert written() == before and manifest()["sha256"]["weights"] == named
    assert named != hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "name", ["encoder/model.safetensors", "encoder/vocab.txt", "data/sts-dev.csv"]
)
def test_a_file_written_between_reading_and_hashing_stops_the_run(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    build = job.build

    def then_spoil(*arguments):
        parts = build(*arguments)
        spoil(place / name)
        return parts

    monkeypatch.setattr(job, "build", then_spoil)
    assert run(*MAIN) == 2
    line = complaint(capsys)
    assert f"{name}: was changed while it was read" in line
    assert not list(Path("predictions").glob("*.csv"))

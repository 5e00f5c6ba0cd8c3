"""The model card of an export: scores, data, command, and what the encoder's teacher had seen."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from minbert.export import card as model_card
from minbert.export.export import export
from minbert.finetune.cli import make_parser
from minbert.finetune.config import RunConfig
from minbert.finetune.identity import settings
from minbert.finetune.trained import read_run
from tests.helpers import MakeRun, finished_run


def test_the_card_tells_scores_data_and_command(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    manifest = json.loads((run / "manifest.json").read_text())
    (folder,) = export(run, tmp_path / "out", "transformers")
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    for task, score in manifest["dev"].items():
        (row,) = [line for line in card.splitlines() if line.startswith(f"| {task} | dev ")]
        low, high = map(float, row.split("|")[5].split("(")[0].split(" to "))
        assert f"{score:.3f}" in row and low <= score <= high and "(16 examples)" in row
    for name, digest in manifest["sha256"].items():
        assert f"- {name}: `{digest}`" in card
    assert 'model="out/sst"' in card and str(tmp_path) not in card  # whose folders are nobody's
    (line,) = [line for line in card.splitlines() if line.startswith("python multitask")]
    for words in ("--option=finetune", "--rrobin=equal", "--weights=encoder", "--data_dir=data"):
        assert words in line


def test_the_bundled_encoders_card_names_what_its_teacher_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, said = finished_run(tmp_path), "a teacher that was tuned on sentence pairs, Quora's among"
    (folder,) = export(run, tmp_path / "out", "transformers")
    assert said not in (folder / "README.md").read_text()
    monkeypatch.setattr(model_card, "BUNDLED_ENCODER", tmp_path / "encoder")
    (folder,) = export(run, tmp_path / "bundled", "transformers")
    assert said in (folder / "README.md").read_text()


def test_the_cards_command_repeats_the_run(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(r4f=True, cross_encoder=True)
    (folder, *_) = export(run, tmp_path / "out", "transformers")
    card = (folder / "README.md").read_text().splitlines()
    (line,) = [line for line in card if line.startswith("python multitask")]
    typed = vars(make_parser().parse_args(shlex.split(line)[2:]))
    assert settings(RunConfig(**typed)) == settings(read_run(run).config)

"""Wrong usage, and another run to go on with, are refused in one line; the help has every flag."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from minbert.pretrain import __main__ as pretrain
from minbert.pretrain import budget, shards
from minbert.pretrain.budget import Costs
from minbert.pretrain.config import PretrainConfig
from minbert.training.checkpoint import CheckpointStore
from tests.helpers import TINY, save_encoder
from tests.pretrain.running import complaint, run
from tests.pretrain.texts import random_documents, write_documents


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--text", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--text"], "expected at least one argument"),
        (["--steps", "1", "--passes", "1"], "--steps and --passes"),
        (["--time_budget", "soon"], "--time_budget soon: give a time"),
        (["--time_budget", "-5m"], "--time_budget"),
        (["--steps", "-1"], "--steps -1: must be 0 or more"),
        (["--hidden_size", "33"], "hidden_size 33 is not divisible"),
        (["--weights", "vocab"], "does nothing beside"),
        (["--vocab_size", "50"], "--vocab_size would do nothing"),
        (["--power", "2"], "--power would do nothing"),
        (["--sequence_length", "64"], "the encoder has 32 positions"),
        (["--sequence_length", "8"], "must be 16 or more"),
        (["--held_out", "0"], "--held_out 0.0: must be above 0"),
        (["--vocab", "nowhere"], "nowhere"),
        (["--save", "text.txt"], "a file of that name"),
        (["--save", "."], "holds something else than an encoder"),
        (["--save", os.fsdecode(b"encoder-\xff")], "its name is no UTF-8; name another"),
        (["--save", "text.txt/encoder"], "--save text.txt/encoder: cannot be written"),
        (["--output_dir", "text.txt"], "--output_dir text.txt: a file of that name"),
        (["--text", "quora.csv.xz"], "--text quora.csv.xz: a packed table is not read; unpack"),
        (["--text", "quora.csv"], "--text quora.csv: its texts have no next sentence"),
        (["--schedule", "cosine"], "invalid choice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    assert run(*argv) == 2
    assert words in complaint(capsys)
    assert not Path("out").exists()


def test_another_setting_is_no_run_to_go_on_with(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--steps", "3") == 0
    capsys.readouterr()
    assert run("--steps", "3", "--lr", "1e-4", "--resume") == 2
    assert "another lr" in complaint(capsys)
    write_documents(place / "text.txt", random_documents(150, seed=1))
    assert run("--steps", "3", "--resume") == 2
    assert "another text 0" in complaint(capsys)


def test_other_weights_are_no_run_to_go_on_with(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_encoder(place / "begun", TINY)
    start = ("--weights", "begun")
    assert run("--steps", "3", start=start) == 0
    assert run("--steps", "3", "--resume", "--half", "--save", "more", start=start) == 0
    capsys.readouterr()
    tensors = load_file("begun/model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, "begun/model.safetensors")
    assert run("--steps", "3", "--resume", start=start) == 2
    assert "another weights" in complaint(capsys)


def test_a_run_of_the_main_job_is_none_to_go_on_with(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose checkpoints know no number of steps."""
    monkeypatch.setattr(budget, "_measure", lambda *_, **__: Costs(1.0, 1.0, 0.0))
    assert run("--steps", "3") == 0
    store = CheckpointStore(Path("out"))
    saved = store.load_last()
    assert saved is not None
    del saved[1]["settings"]["total_steps"]
    shutil.rmtree("out/finished")
    store.finish(saved[1])
    capsys.readouterr()
    assert run("--time_budget", "1m", "--resume") == 2
    assert "was begun with another" in complaint(capsys)


def test_text_packed_in_another_way_is_not_gone_on_with(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--steps", "3") == 0
    capsys.readouterr()
    monkeypatch.setattr(shards, "_FORMAT", 99)
    assert run("--steps", "3", "--resume") == 2
    assert "another packed text" in complaint(capsys)


def test_help_gives_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        pretrain.main(["--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"--{name} " in shown for name in PretrainConfig.__dataclass_fields__)

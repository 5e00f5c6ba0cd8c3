"""What a run is and how it went, in JSON that stays true whatever happens."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from minbert.encoder.config import EncoderConfig
from minbert.finetune.config import RunConfig
from minbert.finetune.identity import input_hashes, run_name, settings
from tests.helpers import located_config

BASE = RunConfig(option="finetune", rrobin="equal", weights="weights", sst_dev="a.csv").resolved()
DECISIVE: list[dict[str, Any]] = [
    {"seed": 1},
    {"lr": 1e-4},
    {"epochs": 2},
    {"batch_size": 16},
    {"smart": True},
    {"r3f": True},
    {"pooling": "mean"},
    {"limit": 5},
    {"limit_train": 5},
    {"compat": "fairseq"},
    {"max_length": 64},
    {"head_lr": 1e-3},
    {"ranks": 2},
    {"micro_batch_size": 2},
    {"betas": (0.9, 0.98)},
]
INDIFFERENT: list[dict[str, Any]] = [
    {"output_dir": "elsewhere"},
    {"resume": True},
    {"checkpoint_every": 7},
    {"sst_dev_out": "other.csv"},
    {"strict": True},
    {"threads": 3},
]


@pytest.mark.parametrize("change", DECISIVE, ids=str)
def test_what_decides_the_result_is_among_the_settings(change: dict[str, Any]) -> None:
    other = dataclasses.replace(BASE, **change)
    assert settings(other) != settings(BASE)
    assert run_name(other) != run_name(BASE)


def test_flags_that_came_later_change_no_name_while_they_are_unset() -> None:
    """Or --resume would look for a run begun earlier in another folder."""
    assert settings(BASE).keys().isdisjoint({"ranks", "head_lr", "micro_batch_size"})
    assert settings(dataclasses.replace(BASE, head_lr=1e-3))["head_lr"] == 1e-3


@pytest.mark.parametrize("change", INDIFFERENT, ids=str)
def test_what_does_not_is_not(change: dict[str, Any]) -> None:
    other = dataclasses.replace(BASE, **change)
    assert settings(other) == settings(BASE)
    assert run_name(other) == run_name(BASE)


def test_moved_files_are_the_same_settings_but_other_files_another_name() -> None:
    moved = dataclasses.replace(BASE, weights="moved/weights", sst_dev="moved/a.csv")
    assert settings(moved) == settings(BASE)
    assert run_name(moved) != run_name(BASE)


def test_settings_survive_json() -> None:
    assert json.loads(json.dumps(settings(BASE))) == settings(BASE)


def test_a_name_can_be_read_and_is_a_folders(tmp_path: Path) -> None:
    config = dataclasses.replace(BASE, smart=True, rlayer=True, seed=42)
    name = run_name(config)
    for word in ("finetune", "rrobin", "sst+para+sts", "smart", "rlayer", "seed42"):
        assert word in name.split("-")
    (tmp_path / name).mkdir()


@pytest.fixture
def config(tmp_path: Path, tiny: EncoderConfig) -> RunConfig:
    return located_config(tmp_path, tiny)


def test_every_file_the_run_reads_is_hashed(config: RunConfig) -> None:
    hashes = input_hashes(config)
    expected = {f"{t}_{s}" for t in ("sst", "para", "sts") for s in ("train", "dev", "test")}
    assert hashes.keys() == expected | {"weights", "config.json", "vocab.txt"}
    content = Path(config.sts_dev).read_bytes()
    assert hashes["sts_dev"] == hashlib.sha256(content).hexdigest()
    Path(config.sts_dev).write_bytes(content + b"\n")
    changed = input_hashes(config)
    assert {key for key in hashes if hashes[key] != changed[key]} == {"sts_dev"}


def test_train_files_that_are_not_read_are_not_hashed(config: RunConfig) -> None:
    alone = dataclasses.replace(config, rrobin=None, tasks=("sst",))
    assert {key for key in input_hashes(alone) if key.endswith("train")} == {"sst_train"}

"""What a run is and how it went, in JSON that stays true whatever happens."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from minbert.encoder import hub
from minbert.encoder.config import EncoderConfig
from minbert.finetune import identity as manifests
from minbert.finetune.config import RunConfig
from minbert.finetune.identity import input_hashes, new_manifest, recorded, run_name, settings
from minbert.support.runtime import InputError, RunError, Stopped
from minbert.training.loop import Progress
from tests.helpers import save_encoder, write_course_files

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
    {"betas": (0.9, 0.98)},
]
INDIFFERENT: list[dict[str, Any]] = [
    {"output_dir": "elsewhere"},
    {"resume": True},
    {"checkpoint_every": 7},
    {"sst_dev_out": "other.csv"},
    {"strict": True},
]


@pytest.mark.parametrize("change", DECISIVE, ids=str)
def test_what_decides_the_result_is_among_the_settings(change: dict[str, Any]) -> None:
    other = dataclasses.replace(BASE, **change)
    assert settings(other) != settings(BASE)
    assert run_name(other) != run_name(BASE)


def test_flags_that_came_later_change_no_name_while_they_are_unset() -> None:
    """Or --resume would look for a run begun earlier in another folder."""
    assert settings(BASE).keys().isdisjoint({"ranks", "head_lr"})
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
    data = write_course_files(tmp_path / "data")
    defaults = RunConfig()
    files = {
        f"{task}_{split}": str(data / Path(defaults.file(task, split)).name)
        for task in ("sst", "para", "sts")
        for split in ("train", "dev", "test")
    }
    weights = save_encoder(tmp_path / "weights", tiny)
    return RunConfig(rrobin="equal", weights=str(weights), **files).resolved()


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


def test_a_new_manifest_says_what_and_where(config: RunConfig) -> None:
    made = new_manifest(config, {"sst_dev": "00"}, torch.device("cpu"))
    assert made["status"] == "running"
    assert made["config"]["seed"] == config.seed
    assert made["config"]["lr"] == config.lr
    assert made["sha256"] == {"sst_dev": "00"}
    assert made["device"] == "cpu"
    assert made["threads"] == torch.get_num_threads()
    assert made["versions"]["torch"] == torch.__version__
    assert {"python", "numpy", "tokenizers", "safetensors"} <= made["versions"].keys()
    assert made["published"] is None
    json.dumps(made, allow_nan=False)


def test_the_name_and_revision_of_a_published_encoder_are_recorded(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = dataclasses.replace(config, weights=f"/c/models--x--y/snapshots/{'a' * 40}")
    made = new_manifest(cached, {}, torch.device("cpu"))
    assert made["published"] == {"name": "x/y", "revision": "a" * 40}
    hashes = {"weights": "1", "vocab.txt": "2"}
    monkeypatch.setattr(hub, "BERT_SHA256", {"model.safetensors": "1", "vocab.txt": "2"})
    made = new_manifest(config, hashes, torch.device("cpu"))  # in a folder of its own
    assert made["published"] == {"name": hub.BERT, "revision": hub.BERT_REVISION}


def test_the_git_state_is_a_commit_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    state = manifests._git_state()
    assert state is None or (len(state["commit"]) == 40 and isinstance(state["changed"], bool))
    monkeypatch.setenv("PATH", "")  # no git at all
    assert manifests._git_state() is None


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_manifest_is_there_from_the_start_and_ends_finished(tmp_path: Path) -> None:
    path, progress = tmp_path / "manifest.json", Progress()
    content: dict[str, Any] = {}
    with recorded(path, content, progress, time.monotonic() - 50):
        assert read(path)["status"] == "running"
        progress.history.append({"epoch": 1, "criterion": 0.5})
        content["dev"] = {"sst": 0.5}
    done = read(path)
    assert done["status"] == "finished"
    assert done["epochs"] == [{"epoch": 1, "criterion": 0.5}]
    assert done["dev"] == {"sst": 0.5}
    assert done["wall_seconds"] >= 50  # what was before, reading say, is part of it


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RunError("loss is nan"), "failed: loss is nan"),
        (InputError("no such file"), "failed: no such file"),
        (OSError(28, "No space left on device"), "failed: [Errno 28] No space left on device"),
        (Stopped(signal.SIGTERM), "stopped by SIGTERM"),
        (Stopped(signal.SIGINT), "stopped by SIGINT"),
        (torch.OutOfMemoryError("no memory"), "failed: no memory"),
        (AssertionError("a defect"), "failed: a defect"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_a_manifest_says_how_a_run_ended(tmp_path: Path, error: BaseException, status: str) -> None:
    path = tmp_path / "manifest.json"
    with pytest.raises(type(error)), recorded(path, {}, Progress(), time.monotonic()):
        raise error
    assert read(path)["status"] == status


def test_the_seconds_of_a_resumed_run_add_up(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"wall_seconds": 1000.0}))
    with recorded(path, {}, Progress(), time.monotonic()):
        pass
    assert 1000 <= read(path)["wall_seconds"] < 1100


@pytest.mark.parametrize("content", ["", "{", "{}", "[]"])
def test_a_damaged_earlier_manifest_does_not_matter(tmp_path: Path, content: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(content)
    with recorded(path, {}, Progress(), time.monotonic()):
        pass
    assert read(path)["status"] == "finished"

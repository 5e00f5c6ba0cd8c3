"""How a run went, as its manifest has it: machine, status, seconds."""

from __future__ import annotations

import dataclasses
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from minbert.encoder import hub
from minbert.encoder.config import EncoderConfig
from minbert.finetune.config import RunConfig
from minbert.support.errors import InputError, RunError, Stopped
from minbert.training import record
from minbert.training.progress import Progress
from minbert.training.record import new_manifest, recorded
from tests.helpers import located_config


@pytest.fixture
def config(tmp_path: Path, tiny: EncoderConfig) -> RunConfig:
    return located_config(tmp_path, tiny)


def test_a_new_manifest_says_what_and_where(config: RunConfig) -> None:
    made = new_manifest(config, {"sst_dev": "00"}, torch.device("cpu"))
    assert made["status"] == "running"
    assert made["config"]["seed"] == config.seed
    assert made["config"]["lr"] == config.lr
    assert made["sha256"] == {"sst_dev": "00"}
    assert made["device"] == "cpu"
    assert made["processor"].endswith(torch.backends.cpu.get_cpu_capability())
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
    state = record._git_state()
    assert state is None or (len(state["commit"]) == 40 and isinstance(state["changed"], bool))
    monkeypatch.setenv("PATH", "")  # no git at all
    assert record._git_state() is None


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

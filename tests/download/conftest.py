"""A server with one small file, and a hub of our own with a tiny checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from minbert.encoder import hub
from minbert.encoder.config import EncoderConfig
from minbert.encoder.hub import BERT, BERT_REVISION
from tests.download.faulty_server import Server, publish, serving
from tests.download.one_file import CONTENT, PATH
from tests.download.our_hub import NAME, TENSORS, point_hub_at
from tests.helpers import save_encoder


@pytest.fixture
def mirror() -> Iterator[Server]:
    """A server that has `CONTENT` at `PATH`."""
    with serving({PATH: CONTENT}) as running:
        yield running


@pytest.fixture
def files(tmp_path: Path, tiny: EncoderConfig) -> dict[str, bytes]:
    """A tiny checkpoint's files, and some that nobody needs."""
    folder = save_encoder(tmp_path / "made", tiny)
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {
        **found,
        "tokenizer_config.json": b'{"do_lower_case": true}',
        "README.md": b"words",
        "pytorch_model.bin": b"the same tensors, pickled",
        "tf_model.h5": b"the same in yet another format",
    }


@pytest.fixture
def server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]
) -> Iterator[Server]:
    """A hub that has the checkpoint, an empty cache and an empty current folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with serving({}) as running:
        running.missing = {"X-Error-Code": "RepoNotFound"}
        publish(running, NAME, files)
        point_hub_at(monkeypatch, running.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


@pytest.fixture
def bert(
    server: Server, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]
) -> dict[str, bytes]:
    """The tiny checkpoint published, and pinned, as bert-base-uncased; returns its files."""
    publish(server, BERT, files, BERT_REVISION)
    sha = {name: hashlib.sha256(files[name]).hexdigest() for name in (TENSORS, "vocab.txt")}
    monkeypatch.setattr(hub, "BERT_SHA256", sha)
    needed = ("config.json", "vocab.txt", "tokenizer_config.json", TENSORS)
    return {name: files[name] for name in needed}

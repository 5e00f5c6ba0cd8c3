"""A checkpoint on a hub of our own, and what a look at the cache finds."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.download.faulty_server import Server

NAME = "someone/tiny-bert"
TENSORS = "model.safetensors"


def point_hub_at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """What HF_ENDPOINT does when the hub's client is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def fetched(server: Server) -> list[str]:
    """The files whose bytes were asked for, redirects apart."""
    paths = [path for path, _ in server.requests if not path.startswith("/api/")]
    return [path.rsplit("/", 1)[1] for path in paths if path not in server.redirects]


def cache() -> Path:
    return Path(constants.HF_HUB_CACHE)


def repository(name: str = NAME) -> Path:
    return cache() / f"models--{name.replace('/', '--')}"


def leftovers() -> list[str]:
    """Whatever in the cache is neither a blob nor a name of one."""
    odd = [path.name for path in cache().rglob(".*")]
    return odd + [path.name for path in cache().rglob("*.tmp")]


def in_data() -> dict[str, bytes]:
    folder = Path("data/bert-base-uncased")
    assert [p.name for p in Path("data").iterdir()] == [folder.name]
    return {path.name: path.read_bytes() for path in folder.iterdir()}

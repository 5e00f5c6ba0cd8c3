"""bert-base-uncased, which gets a folder of its own and is known by its hashes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from huggingface_hub import constants

from minbert.download.encoders import fetch_weights
from minbert.encoder import hub
from minbert.encoder.hub import BERT, BERT_REVISION, parse
from minbert.support.errors import RunError
from tests.download.faulty_server import Server, publish
from tests.download.one_file import SOON
from tests.download.our_hub import TENSORS, in_data, repository


def test_bert_gets_a_folder_of_its_own(server: Server, bert: dict[str, bytes]) -> None:
    line = fetch_weights(parse("bert-base-uncased"), SOON)
    assert line == f"weights: {BERT} at revision {BERT_REVISION} is in data/bert-base-uncased/"
    assert in_data() == bert
    assert not any(path.is_symlink() for path in Path("data/bert-base-uncased").iterdir())
    assert hub.cached(parse("bert-base-uncased")) is not None


def test_its_tensors_lie_on_the_disk_once(server: Server, bert: dict[str, bytes]) -> None:
    fetch_weights(parse("bert-base-uncased"), SOON)
    snapshot = hub.cached(parse("bert-base-uncased"))
    assert snapshot is not None
    folder = Path("data/bert-base-uncased")
    assert (folder / TENSORS).samefile(snapshot / TENSORS)
    assert not (folder / "config.json").samefile(snapshot / "config.json")  # to be edited


def test_a_cache_on_another_disk_is_copied_from(
    server: Server, bert: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    fetch_weights(parse("bert-base-uncased"), SOON)
    assert in_data() == bert


def test_a_folder_that_is_right_is_left_alone(server: Server, bert: dict[str, bytes]) -> None:
    fetch_weights(parse("bert-base-uncased"), SOON)
    server.requests.clear()
    line = fetch_weights(parse(BERT), SOON)
    assert "is in data/bert-base-uncased/" in line
    assert server.requests == []


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", TENSORS])
@pytest.mark.parametrize("content", [None, b"something else"])
def test_a_folder_that_is_not_is_an_error(
    server: Server, bert: dict[str, bytes], name: str, content: bytes | None
) -> None:
    fetch_weights(parse("bert-base-uncased"), SOON)
    path = Path("data/bert-base-uncased") / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=rf"holds something else .*{name}.*move it away"):
        fetch_weights(parse("bert-base-uncased"), SOON)
    assert (path.read_bytes() if path.exists() else None) == content


@pytest.mark.parametrize("name", [BERT, "bert-base-uncased"])
def test_a_copy_in_the_cache_needs_no_network(
    server: Server, bert: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Under its former name it lies in the caches of those who used it long ago."""
    snapshot = repository(name) / "snapshots" / BERT_REVISION
    snapshot.mkdir(parents=True)
    for file, content in bert.items():
        (snapshot / file).write_bytes(content)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    fetch_weights(parse("bert-base-uncased"), SOON)
    assert in_data() == bert
    assert server.requests == []


def test_a_wrong_copy_in_the_cache_is_not_taken(server: Server, bert: dict[str, bytes]) -> None:
    fetch_weights(parse("bert-base-uncased"), SOON)
    snapshot = hub.cached(parse("bert-base-uncased"))
    assert snapshot is not None
    (Path("data/bert-base-uncased")).rename("elsewhere")
    (snapshot / "vocab.txt").resolve().write_bytes(b"x")
    fetch_weights(parse("bert-base-uncased"), SOON)
    assert Path("data/bert-base-uncased/vocab.txt").read_bytes() == bert["vocab.txt"]


@pytest.mark.parametrize("name", ["vocab.txt", TENSORS])
def test_a_hub_with_another_bert_is_not_believed(
    server: Server, bert: dict[str, bytes], files: dict[str, bytes], name: str
) -> None:
    """Even where the hub's own hashes fit what it sends."""
    publish(server, BERT, {**files, name: files[name][:-1] + b"?"}, BERT_REVISION)
    with pytest.raises(RunError, match=r"has SHA-256 .*nothing of it was kept"):
        fetch_weights(parse("bert-base-uncased"), SOON)
    assert not Path("data").exists()
    assert hub.cached(parse("bert-base-uncased")) is None


def test_a_hub_with_another_revision_is_not_believed(
    server: Server, bert: dict[str, bytes], files: dict[str, bytes]
) -> None:
    publish(server, BERT, files, "c" * 40, revisions=(BERT_REVISION,))
    with pytest.raises(RunError, match="not the pinned one"):
        fetch_weights(parse("bert-base-uncased"), SOON)


def test_another_revision_of_it_stays_in_the_cache(
    server: Server, bert: dict[str, bytes], files: dict[str, bytes]
) -> None:
    publish(server, BERT, files, "d" * 40)
    line = fetch_weights(parse("bert-base-uncased@main"), SOON)
    assert line.endswith(f"use it with --weights {BERT}@main")
    assert not Path("data").exists()

"""Published encoders: from a hub of our own into a cache that the hub's client can read."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import (
    constants,
    hf_hub_download,
    scan_cache_dir,
    snapshot_download,
    try_to_load_from_cache,
)

from minbert.download.encoders import fetch_weights
from minbert.encoder import hub
from minbert.encoder.bert import BertModel
from minbert.encoder.hub import parse
from minbert.encoder.pooling import POOLING_FILE, named_pooling
from minbert.support.errors import RunError
from tests.download import faulty_server as faulty
from tests.download.faulty_server import COMMIT, Server, publish, serving
from tests.download.one_file import SOON
from tests.download.our_hub import NAME, TENSORS, cache, fetched, leftovers, repository


def test_only_the_files_that_are_needed_are_fetched(server: Server) -> None:
    line = fetch_weights(parse(NAME), SOON)
    assert line == (
        f"weights: {NAME} at revision {COMMIT} is in the local cache; use it with --weights {NAME}"
    )
    assert fetched(server) == ["config.json", "vocab.txt", "tokenizer_config.json", TENSORS]
    assert leftovers() == []


def test_the_hubs_own_client_finds_what_was_fetched(
    server: Server, files: dict[str, bytes]
) -> None:
    """The layout is documented; this is the oracle that we keep to it."""
    fetch_weights(parse(NAME), SOON)
    names = ["config.json", "vocab.txt", "tokenizer_config.json", TENSORS]
    for revision in ("main", COMMIT):
        for name in names:
            found = try_to_load_from_cache(NAME, name, revision=revision)
            assert isinstance(found, str) and Path(found).read_bytes() == files[name]
    folder = snapshot_download(NAME, local_files_only=True)
    assert sorted(path.name for path in Path(folder).iterdir()) == sorted(names)
    scanned = scan_cache_dir(cache())
    assert scanned.warnings == []
    (repo,) = scanned.repos
    (revision,) = repo.revisions
    assert (repo.repo_id, revision.commit_hash, revision.refs) == (NAME, COMMIT, {"main"})
    assert {file.file_name for file in revision.files} == set(names)


def test_a_blob_is_named_by_its_hash(server: Server, files: dict[str, bytes]) -> None:
    """The client of the hub does so too, and takes our cache for its own."""
    snapshot = repository() / "snapshots" / COMMIT
    fetch_weights(parse(NAME), SOON)
    blobs = {path.name: path.resolve().name for path in snapshot.iterdir()}
    assert blobs["vocab.txt"] == faulty.blob_sha1(files["vocab.txt"])
    assert blobs[TENSORS] == hashlib.sha256(files[TENSORS]).hexdigest()
    server.requests.clear()
    assert hf_hub_download(NAME, TENSORS, revision=COMMIT) == str(snapshot / TENSORS)
    assert server.requests == []


def test_the_model_loads_from_where_it_is(server: Server) -> None:
    fetch_weights(parse(NAME), SOON)
    folder = hub.cached(parse(NAME))
    assert folder is not None
    assert BertModel.from_pretrained(folder).config.hidden_size == 16


def test_a_second_time_only_the_listing_is_asked_for(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    fetch_weights(parse(NAME), SOON)
    server.requests.clear()
    with caplog.at_level("INFO", logger="minbert"):
        fetch_weights(parse(NAME), SOON)
    assert [path for path, _ in server.requests] == [f"/api/models/{NAME}/revision/main"]
    assert f"{NAME}: {TENSORS} is in the local cache, its hash is right" in caplog.messages


def test_without_safetensors_the_older_file_is_taken(
    server: Server, files: dict[str, bytes]
) -> None:
    del files[TENSORS]
    publish(server, NAME, files)
    fetch_weights(parse(NAME), SOON)
    assert fetched(server)[-1] == "pytorch_model.bin"


def test_the_pooling_that_a_checkpoint_names_comes_with_it(
    server: Server, files: dict[str, bytes]
) -> None:
    pooling = b'{"pooling_mode_mean_tokens": true}'
    publish(server, NAME, {**files, POOLING_FILE: pooling, "2_Dense/config.json": b"{}"})
    fetch_weights(parse(NAME), SOON)
    folder = hub.cached(parse(NAME))
    assert folder is not None and named_pooling(folder) == "mean"
    assert not (folder / "2_Dense").exists()
    assert scan_cache_dir(cache()).warnings == []


def test_a_revision_is_kept_under_its_own_name(server: Server, files: dict[str, bytes]) -> None:
    publish(server, NAME, files, "a" * 40, revisions=("v1.0", "refs/pr/1", "refs%2Fpr%2F1"))
    fetch_weights(parse(f"{NAME}@v1.0"), SOON)
    assert hub.cached(parse(NAME)) is None
    folder = hub.cached(parse(f"{NAME}@v1.0"))
    assert folder is not None and folder.name == "a" * 40
    line = fetch_weights(parse(f"{NAME}@refs/pr/1"), SOON)
    assert line.endswith(f"use it with --weights {NAME}@refs/pr/1")
    assert hub.cached(parse(f"{NAME}@refs/pr/1")) == folder
    fetch_weights(parse(f"{NAME}@{'a' * 40}"), SOON)
    assert not (repository() / "refs" / ("a" * 40)).exists()


def test_a_branch_that_moved_on_is_followed(server: Server, files: dict[str, bytes]) -> None:
    fetch_weights(parse(NAME), SOON)
    old = hub.cached(parse(NAME))
    publish(server, NAME, {**files, TENSORS: files[TENSORS] + b"\0"}, "b" * 40)
    server.always[f"/storage/{TENSORS}"] = faulty.truncate(0.5)
    with pytest.raises(RunError):
        fetch_weights(parse(NAME), replace(SOON, tries=1))
    assert hub.cached(parse(NAME)) == old  # until the new one is whole
    server.always.clear()
    fetch_weights(parse(NAME), SOON)
    new = hub.cached(parse(NAME))
    assert new is not None and new.name == "b" * 40


def test_a_damaged_cache_is_mended(server: Server, files: dict[str, bytes]) -> None:
    fetch_weights(parse(NAME), SOON)
    path = repository() / "snapshots" / COMMIT / TENSORS
    path.resolve().write_bytes(b"damaged")
    server.requests.clear()
    fetch_weights(parse(NAME), SOON)
    assert path.read_bytes() == files[TENSORS]
    assert fetched(server) == [TENSORS]


def test_a_cache_without_links_is_left_as_it_is(server: Server, files: dict[str, bytes]) -> None:
    """What the hub's client writes where the file system has no symbolic links."""
    snapshot = repository() / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for name in ("config.json", TENSORS):
        (snapshot / name).write_bytes(files[name])
    fetch_weights(parse(NAME), SOON)
    assert fetched(server) == ["vocab.txt", "tokenizer_config.json"]
    assert not (snapshot / TENSORS).is_symlink()
    assert hub.cached(parse(NAME)) == snapshot


def test_without_links_there_is_a_copy(
    server: Server, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    fetch_weights(parse(NAME), SOON)
    folder = hub.cached(parse(NAME))
    assert folder is not None and not (folder / TENSORS).is_symlink()
    assert (folder / TENSORS).read_bytes() == files[TENSORS]
    assert leftovers() == []


def test_a_token_goes_to_the_hub_and_to_nobody_else(
    server: Server, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving({"/x": files[TENSORS]}) as storage:
        server.redirects[f"/{NAME}/resolve/{COMMIT}/{TENSORS}"] = f"{storage.url}/x"
        fetch_weights(parse(NAME), SOON)
        assert "authorization" not in storage.seen_headers[0]
    assert {h.get("authorization") for h in server.seen_headers} == {"Bearer hf_secret"}


def test_nothing_is_told_about_this_machine(server: Server) -> None:
    fetch_weights(parse(NAME), SOON)
    assert all("torch" not in headers.get("user-agent", "") for headers in server.seen_headers)
    asked = {path for path, _ in server.requests if path.startswith("/api/")}
    assert asked == {f"/api/models/{NAME}/revision/main"}


def test_offline_says_so_in_one_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RunError, match=f"^{NAME}: not in the local cache, and HF_HUB_OFFLINE"):
        fetch_weights(parse(NAME), SOON)
    assert server.requests == []


def test_offline_what_is_cached_is_enough(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fetch_weights(parse(NAME), SOON)
    server.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with caplog.at_level(logging.INFO, logger="minbert"):
        assert COMMIT in fetch_weights(parse(NAME), SOON)
    assert "HF_HUB_OFFLINE is set" in caplog.text
    assert server.requests == []

"""Published encoders: from a hub of our own into a cache that the hub's client can read."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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

from minbert import hub
from minbert.bert import BertModel
from minbert.download_weights import fetch_weights
from minbert.encoder_config import EncoderConfig
from minbert.hub import BERT, BERT_REVISION, parse
from minbert.runtime import InputError, RunError
from tests import faulty_server as faulty
from tests.faulty_server import COMMIT, Behaviour, Server, closed_port, publish, serving
from tests.helpers import save_encoder
from tests.test_fetch import SOON

NAME = "someone/tiny-bert"
TENSORS = "model.safetensors"


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


def point_hub_at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """What HF_ENDPOINT does when the hub's client is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


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


# -------------------------------------------------------------------------------- into the cache


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
    """As the hub's client does, which so takes ours for its own."""
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


# ------------------------------------------------------------------------------- what is refused

NOT_BERT = [
    ("config.json", "lacks config.json"),
    ("vocab.txt", "lacks vocab.txt"),
    (TENSORS, "lacks model.safetensors"),
]


@pytest.mark.parametrize(("gone", "words"), NOT_BERT)
def test_a_checkpoint_that_lacks_a_file_is_refused_before_any_is_fetched(
    server: Server, files: dict[str, bytes], gone: str, words: str
) -> None:
    files = {name: it for name, it in files.items() if name not in (gone, "pytorch_model.bin")}
    publish(server, NAME, files)
    with pytest.raises(InputError, match=f"^{NAME}: not in BERT's layout: {words}"):
        fetch_weights(parse(NAME), SOON)
    assert fetched(server) == []
    assert not cache().exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (b'{"model_type": "roberta"}', "model_type 'roberta' is not implemented"),
        (b"{}", "lacks hidden_size"),
        (b"<html>", "not JSON"),
    ],
)
def test_another_architecture_is_refused_before_its_tensors_are_fetched(
    server: Server, files: dict[str, bytes], config: bytes, words: str
) -> None:
    publish(server, NAME, {**files, "config.json": config})
    with pytest.raises(InputError, match=rf"^{NAME}: not in BERT's layout: config.json: {words}"):
        fetch_weights(parse(NAME), SOON)
    assert fetched(server) == ["config.json"]
    assert hub.cached(parse(NAME)) is None


API = f"/api/models/{NAME}/revision/main"
LISTING: dict[str, tuple[Behaviour, type[Exception], str]] = {
    "mute": (faulty.mute, RunError, "went silent; given up after 3"),
    "hang up": (faulty.hang_up, RunError, "the connection broke"),
    "500": (faulty.status("500 Oops"), RunError, "the hub answered 500; given up"),
    "429": (faulty.status("429 Slow Down"), RunError, "the hub answered 429; given up"),
    "403": (faulty.status("403 Forbidden"), RunError, "the hub answered 403"),
    "page": (faulty.page, RunError, "makes no sense"),
    "cut": (faulty.truncate(0.5), RunError, "the connection broke"),
    "list": (faulty.status("200 OK", b"[]"), RunError, "makes no sense"),
    "empty": (faulty.status("200 OK", b'{"id": "x/y"}'), RunError, "without a commit"),
    "path": (
        faulty.status("200 OK", json.dumps({"id": "x", "sha": "../../../x"}).encode()),
        RunError,
        "without a commit",
    ),
    "gated": (
        faulty.status("403 Forbidden", X_Error_Code="GatedRepo"),
        InputError,
        "access on request.*hf auth login",
    ),
    "no revision": (
        faulty.status("404 Not Found", X_Error_Code="RevisionNotFound"),
        InputError,
        "has no revision main",
    ),
    "loop": (faulty.redirect_loop, RunError, "not fetched"),
}


@pytest.mark.parametrize("name", LISTING)
def test_a_hub_that_fails_is_one_line(server: Server, name: str) -> None:
    behave, kind, words = LISTING[name]
    server.always[API] = behave
    with pytest.raises(kind, match=words) as raised:
        fetch_weights(parse(NAME), SOON)
    assert "\n" not in str(raised.value)
    assert not cache().exists()
    server.always.clear()
    server.faults[API] = [behave] if "given up" in words else []
    fetch_weights(parse(NAME), SOON)


@pytest.mark.parametrize("blob", ["../../../../etc/x", "", "g" * 40, None])
def test_a_blob_cannot_be_named_out_of_the_cache(server: Server, blob: str | None) -> None:
    facts = json.loads(server.files[API])
    facts["siblings"][0]["blobId"] = blob
    facts["siblings"][0].pop("lfs", None)
    server.files[API] = json.dumps(facts).encode()
    with pytest.raises(RunError, match="gave no hash and size"):
        fetch_weights(parse(NAME), SOON)


def test_an_unknown_name_is_one_line(server: Server) -> None:
    with pytest.raises(InputError, match=r"^no/body: the hub shows no such checkpoint"):
        fetch_weights(parse("no/body"), SOON)


def test_a_hub_out_of_reach_is_one_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    point_hub_at(monkeypatch, closed_port())
    with pytest.raises(RunError, match=r"no connection .*given up.*check network"):
        fetch_weights(parse(NAME), SOON)


# ------------------------------------------------------------------------------------------ faults

FAULTS: dict[str, Behaviour] = {
    "truncate": faulty.truncate(0.5),
    "reset": faulty.reset(0.9),
    "stall": faulty.stall(0.5),
    "drip": faulty.drip,
    "corrupt": faulty.corrupt(0.5),
    "endless": faulty.endless,
    "page": faulty.page,
    "disguised page": faulty.disguised_page,
    "404": faulty.status("404 Not Found"),
    "403": faulty.status("403 Forbidden"),
    "500": faulty.status("500 Oops"),
    "loop": faulty.redirect_loop,
    "dead redirect": faulty.redirect("http://127.0.0.1:9/x"),
}


@pytest.mark.parametrize("file", ["vocab.txt", TENSORS])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_leaves_no_half_checkpoint(
    server: Server, files: dict[str, bytes], name: str, file: str
) -> None:
    path = f"/storage/{file}" if file == TENSORS else f"/{NAME}/resolve/{COMMIT}/{file}"
    server.always[path] = FAULTS[name]
    with pytest.raises(RunError):
        fetch_weights(parse(NAME), replace(SOON, tries=2))
    assert hub.cached(parse(NAME)) is None
    assert hub.cached(parse(f"{NAME}@{COMMIT}")) is None
    blobs = [path for path in (repository() / "blobs").iterdir() if path.suffix != ".part"]
    for blob in blobs:  # what is there under a hash has that hash
        content = blob.read_bytes()
        assert blob.name in (hashlib.sha256(content).hexdigest(), faulty.blob_sha1(content))
    server.always.clear()
    fetch_weights(parse(NAME), SOON)
    folder = hub.cached(parse(NAME))
    assert folder is not None
    assert (folder / file).read_bytes() == files[file]
    assert leftovers() == []


def test_a_partial_file_is_gone_on_from(server: Server, files: dict[str, bytes]) -> None:
    half = len(files[TENSORS]) // 2
    server.faults[f"/storage/{TENSORS}"] = [faulty.truncate(0.5)]
    with pytest.raises(RunError, match=f"goes on from the {half:,} bytes"):
        fetch_weights(parse(NAME), replace(SOON, tries=1))
    server.requests.clear()
    fetch_weights(parse(NAME), SOON)
    assert (f"/storage/{TENSORS}", half) in server.requests
    assert fetched(server) == [TENSORS]


def test_two_at_once(server: Server) -> None:
    with ThreadPoolExecutor(2) as pool:
        lines = list(pool.map(lambda _: fetch_weights(parse(NAME), SOON), range(2)))
    assert lines[0] == lines[1]
    assert leftovers() == []


# ----------------------------------------------------------------------------- bert-base-uncased


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


# ---------------------------------------------------------------------------------------- offline


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

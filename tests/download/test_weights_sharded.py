"""Published encoders whose tensors lie in several files: an index and the shards that it names."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from minbert.download.encoders import fetch_weights
from minbert.encoder import hub
from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.encoder.hub import parse
from minbert.support.errors import InputError, RunError
from tests.download import faulty_server as faulty
from tests.download.faulty_server import Server, publish
from tests.download.one_file import SOON
from tests.download.our_hub import NAME, TENSORS, cache, fetched, leftovers
from tests.helpers import save_encoder
from tests.hostile_files import HOSTILE_JSON

INDEX = {"safetensors": "model.safetensors.index.json", "bin": "pytorch_model.bin.index.json"}
Files = dict[str, bytes]


def in_shards(folder: Path, kind: str, count: int = 3) -> Files:
    """A tiny checkpoint's files, with its tensors in so many of them."""
    tensors = list(load_file(folder / TENSORS).items())
    stem = "model" if kind == "safetensors" else "pytorch_model"
    names = [f"{stem}-{i + 1:05d}-of-{count:05d}.{kind}" for i in range(count)]
    for i, name in enumerate(names):
        part = {key: tensor.clone() for key, tensor in tensors[i::count]}
        save_file(part, folder / name) if kind == "safetensors" else torch.save(part, folder / name)
    placed = {key: names[i % count] for i, (key, _) in enumerate(tensors)}
    (folder / INDEX[kind]).write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    (folder / TENSORS).unlink()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(params=["safetensors", "bin"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def made(tmp_path: Path, tiny: EncoderConfig) -> Path:
    return save_encoder(tmp_path / "whole", tiny)


@pytest.fixture
def sharded(server: Server, tmp_path: Path, made: Path, kind: str) -> Files:
    files = in_shards(Path(shutil.copytree(made, tmp_path / "sharded")), kind)
    publish(server, NAME, {**files, "optimizer.bin": b"training extras"})
    return files


def snapshot() -> Path:
    folder = hub.cached(parse(NAME))
    assert folder is not None
    return folder


def shards_of(files: Mapping[str, bytes]) -> list[str]:
    return sorted(name for name in files if "-of-" in name)


def test_every_shard_comes_and_the_encoder_is_the_one_of_a_single_file(
    server: Server, sharded: Files, made: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "minbert")
    fetch_weights(parse(NAME), SOON)
    names = [name for name in fetched(server) if name not in ("config.json", "vocab.txt")]
    assert names == [INDEX[kind], *shards_of(sharded)]
    assert all((snapshot() / name).read_bytes() == content for name, content in sharded.items())
    assert leftovers() == []
    said = [r.message for r in caplog.records if INDEX[kind] in r.message]
    assert len(said) == 1
    ours, theirs = BertModel.from_pretrained(snapshot()), BertModel.from_pretrained(made)
    assert all(torch.equal(t, theirs.state_dict()[n]) for n, t in ours.state_dict().items())
    server.requests.clear()
    fetch_weights(parse(NAME), SOON)
    assert fetched(server) == []


def test_a_shard_that_fails_is_fetched_next_time_and_nothing_counts_before(
    server: Server, sharded: Files
) -> None:
    last = shards_of(sharded)[-1]
    server.always[f"/storage/{last}"] = faulty.truncate(0.5)
    with pytest.raises(RunError, match="given up"):
        fetch_weights(parse(NAME), SOON)
    assert hub.cached(parse(NAME)) is None
    server.always.clear()
    server.requests.clear()
    fetch_weights(parse(NAME), SOON)
    assert fetched(server) == [last]
    assert all((snapshot() / name).read_bytes() == content for name, content in sharded.items())


def test_a_shard_that_the_hub_lacks_is_named_before_any_is_fetched(
    server: Server, sharded: Files, kind: str
) -> None:
    gone = shards_of(sharded)[1]
    publish(server, NAME, {name: it for name, it in sharded.items() if name != gone})
    with pytest.raises(
        InputError, match=f"^{NAME}: not in a layout that is read here: lacks {gone}$"
    ):
        fetch_weights(parse(NAME), SOON)
    assert fetched(server)[-1] == INDEX[kind]


def test_a_single_file_comes_before_shards(
    server: Server, sharded: Files, files: Files, kind: str
) -> None:
    """The reference library takes the single file where both are there."""
    publish(server, NAME, {**sharded, TENSORS: files[TENSORS]})
    fetch_weights(parse(NAME), SOON)
    assert TENSORS in fetched(server) and not any("-of-" in name for name in fetched(server))


@pytest.mark.parametrize(
    "shard",
    ["../x", "/etc/passwd", "..", "", ".hidden", "a/b", "a\\b", "config.json", "a\0", 7, None, [1]],
)
def test_an_index_that_names_anything_else_is_refused(
    server: Server, sharded: Files, kind: str, shard: object
) -> None:
    shard = (
        f"{shard}.{kind}" if isinstance(shard, str) and shard not in ("config.json", "") else shard
    )
    index = {"weight_map": {"a": shard, "b": shards_of(sharded)[0]}}
    publish(server, NAME, {str(shard): b"x", **sharded, INDEX[kind]: json.dumps(index).encode()})
    begins = f"{NAME}: not in a layout that is read here"
    words = rf"^{begins}: {INDEX[kind]}: its weight_map does not name files"
    with pytest.raises(InputError, match=words):
        fetch_weights(parse(NAME), SOON)
    assert fetched(server)[-1] == INDEX[kind]


TEXTS = ("nested", "nested object", "5,000 digits", "NaN", "1e400", "list", "no UTF-8", "empty")


@pytest.mark.parametrize("hostile", TEXTS)
def test_a_hostile_index_is_one_line(
    server: Server, sharded: Files, tmp_path: Path, kind: str, hostile: str
) -> None:
    HOSTILE_JSON[hostile](tmp_path / "hostile")
    index = (tmp_path / "hostile").read_bytes()
    publish(server, NAME, {**sharded, INDEX[kind]: index})
    with pytest.raises(
        InputError, match=f"^{NAME}: not in a layout that is read here: {INDEX[kind]}"
    ) as raised:
        fetch_weights(parse(NAME), SOON)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300
    assert not (cache() / "snapshots").exists() and hub.cached(parse(NAME)) is None

"""Files made to take memory: each is refused in one line, before the memory is taken."""

from __future__ import annotations

import json
import os
import resource
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.support.errors import InputError
from tests.helpers import save_encoder

WORDS = "embeddings.word_embeddings.weight"
BIG = {"vocab_size": 2**18, "hidden_size": 2**10, "num_attention_heads": 2}  # 1 GB of words


@pytest.fixture
def folder(tiny: EncoderConfig, tmp_path: Path) -> Path:
    return save_encoder(tmp_path / "encoder", tiny)


def refusal(folder: Path) -> str:
    """The one line; what is read until then takes less than 100 MB of memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as refused:
        BertModel.from_pretrained(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # kilobytes
    assert "\n" not in str(refused.value) and str(folder) in str(refused.value)
    return str(refused.value)


def configure(folder: Path, **changes: object) -> None:
    keys = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**keys, **changes}))


def as_binary(folder: Path, tensors: dict[str, Tensor], *, archive: bool = True) -> Path:
    (folder / "model.safetensors").unlink()
    path = folder / "pytorch_model.bin"
    torch.save(tensors, path, _use_new_zipfile_serialization=archive)
    return path


@pytest.mark.parametrize("archive", [True, False])
def test_an_expanded_tensor(folder: Path, archive: bool) -> None:
    """One number that claims to be a table of a gigabyte, as config.json says."""
    tensors = load_file(folder / "model.safetensors")
    as_binary(folder, {**tensors, WORDS: torch.zeros(1).expand(2**18, 2**10)}, archive=archive)
    configure(folder, **BIG)
    assert f"{WORDS} claims {2**30} bytes" in refusal(folder)


@pytest.mark.parametrize("archive", [True, False])
def test_tensors_that_overlap(folder: Path, archive: bool) -> None:
    """Each fits into the file; together they take many times as much."""
    tensors = load_file(folder / "model.safetensors")
    shared = torch.zeros(max(t.numel() for t in tensors.values()))
    lying = {name: shared[: t.numel()].view(t.shape) for name, t in tensors.items()}
    as_binary(folder, lying, archive=archive)
    assert "claim" in refusal(folder)


def test_tied_heads_are_no_lie(folder: Path) -> None:
    """An older file's decoder is the table of words again, stored once."""
    tensors = load_file(folder / "model.safetensors")
    before = BertModel.from_pretrained(folder)
    as_binary(folder, {**tensors, **{f"cls.decoder.{i}": tensors[WORDS] for i in range(50)}})
    assert torch.equal(
        BertModel.from_pretrained(folder).word_embeddings.weight, before.word_embeddings.weight
    )


@pytest.mark.parametrize("extra", [{"x": torch.zeros(2**26)}, {"a" * 2**28: torch.ones(1)}])
def test_a_compressed_bomb(folder: Path, extra: dict[str, Tensor]) -> None:
    tensors = load_file(folder / "model.safetensors")
    path = as_binary(folder, {**tensors, **extra})
    with zipfile.ZipFile(path) as plain:
        entries = {entry.filename: plain.read(entry) for entry in plain.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in entries.items():
            packed.writestr(name, content)
    del entries
    assert path.stat().st_size < 2**20
    assert "compressed, which torch.save never does" in refusal(folder)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # of torch 2.11
def test_a_sparse_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    place, size = torch.zeros(2, 1).long(), (2**30, 2**30)
    huge = torch.sparse_coo_tensor(place, torch.ones(1), size, check_invariants=True)
    as_binary(folder, {**tensors, WORDS: huge})
    refusal(folder)


def header(entries: dict[str, object], size: int) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


@pytest.mark.parametrize(
    ("shape", "first", "last"),
    [([2**28], 0, 2**30), ([4], 0, 2**30), ([2**28], 0, 16), ([2**40, 2**40], 0, 16), ([4], 16, 0)],
)
def test_offsets_beyond_the_file(folder: Path, shape: list[int], first: int, last: int) -> None:
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [first, last]}
    (folder / "model.safetensors").write_bytes(header({WORDS: entry}, 16))
    assert "damaged" in refusal(folder)


def test_offsets_that_overlap(folder: Path) -> None:
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    (folder / "model.safetensors").write_bytes(header({"a": entry, "b": entry}, 16))
    assert "damaged" in refusal(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_forty_gigabytes_of_nothing(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).touch()
    os.truncate(folder / name, 40 * 2**30)
    assert "damaged" in refusal(folder)


@pytest.mark.parametrize("kind", ["pipe", "loop", "folder", "device"])
def test_what_is_no_file_is_not_opened(folder: Path, kind: str) -> None:
    path = folder / "model.safetensors"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.name if kind == "loop" else "/dev/zero")
    assert "lacks model.safetensors" in refusal(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"vocab_size": 2**24, "hidden_size": 2**24},
        {"intermediate_size": 2**24, "max_position_embeddings": 2**24},
        {"num_hidden_layers": 2**24},
        {"num_hidden_layers": 10**30},
        {"layer_norm_eps": 10**99},
    ],
)
def test_a_shape_that_nothing_could_hold(folder: Path, changes: dict[str, object]) -> None:
    configure(folder, **changes)
    refusal(folder)


def test_later_writes_to_the_file_do_not_show(folder: Path) -> None:
    """The library maps the file; a run must compute with the bytes that its manifest names."""
    loaded = BertModel.from_pretrained(folder)
    before = {name: tensor.clone() for name, tensor in loaded.state_dict().items()}
    path = folder / "model.safetensors"
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.seek(size // 4)
        stream.write(b"\x41" * (size // 2))
    assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.state_dict().items())

"""A damaged or malicious weights file is refused in one line, and nothing in it is run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from minbert.encoder.bert import BertModel
from tests.encoder.published_folders import WORDS, refusal


def damaged_versions(whole: bytes) -> dict[str, bytes]:
    half = len(whole) // 2
    return {
        "empty": b"",
        "first byte": whole[:1],
        "header only": whole[:200],
        "half": whole[:half],
        "last byte lost": whole[:-1],
        "zeros": bytes(len(whole)),
        "text": b"<!DOCTYPE html><title>404</title>",
        "large file pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "header flipped": whole[:9] + bytes([whole[9] ^ 0xFF]) + whole[10:],
        "huge header": b"\xff" * 8 + whole[8:],
    }


DAMAGE = pytest.mark.parametrize("kind", damaged_versions(bytes(300)))


@DAMAGE
def test_damaged_safetensors(folder: Path, kind: str) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(damaged_versions(path.read_bytes())[kind])
    assert "damaged" in refusal(folder)


def as_binary(folder: Path, content: Any) -> Path:
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


@DAMAGE
def test_damaged_binary(folder: Path, kind: str) -> None:
    path = as_binary(folder, load_file(folder / "model.safetensors"))
    path.write_bytes(damaged_versions(path.read_bytes())[kind])
    if kind == "header flipped":  # a byte of the archive that nothing reads
        return
    assert "damaged" in refusal(folder)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02.",
        b"\x80\x02}q\x00.",
        b"(dp0\n.",
        b"\x80\x02K",
        b"\x80\x05\x95",
        b"cos\nsystem\n.",
        b"I1\n.",
        b"\x80\x02X\xff\xff\xff\x7fa.",
        b"h\x05.",
        b"0.",
        b"V\xff\n.",
        b"Ix\n.",
        b"\x80\xff.",
    ],
)
def test_bytes_that_are_almost_a_pickle(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    assert "pytorch_model.bin" in refusal(folder)


class Attack:
    """Pickles to a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("archive", [True, False])
def test_a_malicious_pickle_is_refused_and_not_run(
    folder: Path, tmp_path: Path, archive: bool
) -> None:
    trace = tmp_path / "trace"
    path = as_binary(folder, {WORDS: Attack(trace)})
    if not archive:
        path.write_bytes(pickle.dumps({WORDS: Attack(trace)}, protocol=2))
    assert "damaged" in refusal(folder)
    assert not trace.exists()
    if not archive:  # the attack would work where nobody guards
        pickle.loads(path.read_bytes())
        assert trace.exists()


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, torch.ones(2), {"a": {"b": torch.ones(1)}}])
def test_a_binary_of_something_else(folder: Path, content: Any) -> None:
    as_binary(folder, content)
    assert "expected a dictionary of tensors" in refusal(folder)


def test_an_old_torch_does_not_open_binaries(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_binary(folder, load_file(folder / "model.safetensors"))
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    assert "torch 2.10" in refusal(folder)
    monkeypatch.setattr(torch, "__version__", "2.10.0")
    BertModel.from_pretrained(folder)

"""Published folders: what is read, what is refused and by which name, and the way back."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.encoder.weights import _NAMES, _rename
from minbert.support.errors import InputError

Tensors = dict[str, Tensor]
WORDS = "embeddings.word_embeddings.weight"
NORM = "encoder.layer.1.attention.output.LayerNorm"


@pytest.fixture
def model(tiny: EncoderConfig) -> BertModel:
    """A tiny encoder in which no two parameters are alike."""
    model = BertModel(tiny)
    with torch.no_grad():
        for param in model.parameters():
            param.normal_()
    model.vocab_files = {"vocab.txt": b"[PAD]\n[UNK]\r\n\xc3\xa9\n"}
    return model


@pytest.fixture
def folder(model: BertModel, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "published")
    return tmp_path / "published"


def edit(folder: Path, change: Callable[[Tensors], Any]) -> None:
    """Rewrite the tensors of a folder; `change` alters them in place or returns others."""
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors) or tensors, folder / "model.safetensors", metadata={"format": "pt"})


def assert_same(a: BertModel, b: BertModel) -> None:
    """Bitwise, every tensor."""
    assert a.config == b.config and a.state_dict().keys() == b.state_dict().keys()
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[name]), name


def refusal(folder: Path) -> str:
    """The one line with which a folder is refused, which names the place."""
    with pytest.raises(InputError) as refused:
        BertModel.from_pretrained(folder)
    assert "\n" not in str(refused.value) and str(folder) in str(refused.value)
    return str(refused.value)


# ----------------------------------------------------------------------------------- round trip


def test_round_trip_is_bitwise(model: BertModel, folder: Path, tmp_path: Path) -> None:
    again = BertModel.from_pretrained(folder)
    assert_same(model, again)
    assert again.vocab_files == model.vocab_files
    again.save_pretrained(tmp_path / "again")
    for name in ("model.safetensors", "config.json", "vocab.txt"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name


def test_loaded_parameters_train(folder: Path) -> None:
    loaded = BertModel.from_pretrained(folder)
    assert all(param.requires_grad and not param.is_meta for param in loaded.parameters())
    before = loaded.pooler.weight.detach().clone()
    with torch.no_grad():
        loaded.pooler.weight.add_(1)
    assert not torch.equal(loaded.pooler.weight, before)
    assert_same(BertModel.from_pretrained(folder), BertModel.from_pretrained(folder))


def test_saving_replaces_what_was_there(model: BertModel, folder: Path) -> None:
    loaded = BertModel.from_pretrained(folder)  # may still be mapped to the file
    with torch.no_grad():
        for param in loaded.parameters():
            param.mul_(2)
    loaded.save_pretrained(folder)
    assert_same(BertModel.from_pretrained(folder), loaded)
    assert torch.equal(loaded.pooler.weight, 2 * model.pooler.weight)
    names = ["config.json", "model.safetensors", "vocab.txt"]
    assert sorted(path.name for path in folder.iterdir()) == names


def test_tokenizer_files_come_along(folder: Path, tmp_path: Path) -> None:
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    (folder / "README.md").write_text("not ours")
    BertModel.from_pretrained(folder).save_pretrained(tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer_config.json").read_text() == '{"do_lower_case": false}'
    assert not (tmp_path / "out" / "README.md").exists()


def test_another_vocabulary_takes_the_old_ones_place(model: BertModel, folder: Path) -> None:
    """Settings of the old one, say that it is cased, would be wrong beside the new tokens."""
    model.vocab_files = {"vocab.txt": b"[PAD]", "tokenizer_config.json": b"{}"}
    model.save_pretrained(folder)
    (folder / "README.md").write_text("a card")
    model.vocab_files = {"vocab.txt": b"[PAD]"}
    model.save_pretrained(folder)
    names = {"README.md", "config.json", "model.safetensors", "vocab.txt"}
    assert {path.name for path in folder.iterdir()} == names
    model.vocab_files = {}
    model.save_pretrained(folder)
    assert {path.name for path in folder.iterdir()} == names


def test_names_translate_both_ways(model: BertModel) -> None:
    table = {ours: published for published, ours in _NAMES}
    ours = list(model.state_dict())
    published = [_rename(name, table) for name in ours]
    assert None not in published and len(set(published)) == len(ours)
    assert [_rename(str(name), dict(_NAMES)) for name in published] == ours


# -------------------------------------------------------------------------- spellings accepted


def spell(prefix: str = "", gamma: bool = False) -> Callable[[Tensors], Tensors]:
    def change(tensors: Tensors) -> Tensors:
        out = {}
        for name, tensor in tensors.items():
            if gamma and "LayerNorm" in name:
                name = name.replace(".weight", ".gamma").replace(".bias", ".beta")
            out[prefix + name] = tensor
        return out

    return change


@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("gamma", [False, True])
@pytest.mark.parametrize("binary", [False, True])
def test_spellings(model: BertModel, folder: Path, prefix: str, gamma: bool, binary: bool) -> None:
    edit(folder, spell(prefix, gamma))
    if binary:
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    assert_same(BertModel.from_pretrained(folder), model)


def test_position_ids_of_older_writers_are_no_weight(model: BertModel, folder: Path) -> None:
    edit(folder, lambda t: t.update({"bert.embeddings.position_ids": torch.arange(32)[None]}))
    assert_same(BertModel.from_pretrained(folder), model)


def test_heads_are_left_out_and_named_but_for_those_of_pretraining(
    model: BertModel, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nearly every folder has these."""
    heads = {"cls.predictions.bias": torch.zeros(60), "cls.seq_relationship.bias": torch.zeros(2)}
    for more, said in ({}, ""), ({"qa_outputs.bias": torch.zeros(2)}, "qa_outputs.* (1 tensors)"):
        edit(folder, lambda t, more=more: {**spell("bert.")(t), **heads, **more})
        with caplog.at_level(logging.INFO, "minbert"):
            assert_same(BertModel.from_pretrained(folder), model)
        assert said in caplog.text and "cls." not in caplog.text
        edit(folder, lambda t: {name.removeprefix("bert."): value for name, value in t.items()})


def test_nothing_is_logged_without_heads(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "minbert"):
        BertModel.from_pretrained(folder)
    assert caplog.text == ""


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_go_up_to_fp32(model: BertModel, folder: Path, dtype: torch.dtype) -> None:
    edit(folder, lambda t: {name: tensor.to(dtype) for name, tensor in t.items()})
    for name, tensor in BertModel.from_pretrained(folder).state_dict().items():
        assert tensor.dtype is torch.float32
        assert torch.equal(tensor, model.state_dict()[name].to(dtype).float())


def test_safetensors_come_before_the_older_file(model: BertModel, folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"never opened")
    assert_same(BertModel.from_pretrained(folder), model)


# ------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop(WORDS), "missing: word_embeddings.weight"),
        (lambda t: t.pop(f"{NORM}.bias"), "missing: layers.1.attention_norm.bias"),
        (
            lambda t: t.update({"embeddings.project.weight": torch.ones(2)}),
            "unexpected: embeddings.project.weight",
        ),
        (
            lambda t: t.update({"encoder.layer.2.output.dense.bias": torch.ones(16)}),
            "unexpected: layers.2.output.bias",
        ),
        (
            lambda t: t.update({"pooler.dense.scale": torch.ones(2)}),
            "unexpected: pooler.dense.scale",
        ),
        (
            lambda t: t.update({WORDS: torch.ones(61, 16)}),
            r"mis-shaped: word_embeddings.weight (61, 16), expected (60, 16)",
        ),
        (
            lambda t: t.update({"pooler.dense.bias": torch.ones(16, 1)}),
            "mis-shaped: pooler.bias (16, 1), expected (16,)",
        ),
        (lambda t: t[WORDS][3, 4].fill_(torch.nan) and None, "not finite: word_embeddings.weight"),
        (lambda t: t["pooler.dense.bias"][0].fill_(-torch.inf) and None, "not finite: pooler.bias"),
        (lambda t: t.update({f"bert.{WORDS}": torch.ones(60, 16)}), "twice"),
        (lambda t: t.update({f"{NORM}.gamma": torch.ones(16)}), "twice"),
    ],
)
def test_tensors_that_do_not_fit(
    folder: Path, change: Callable[[Tensors], Any], words: str
) -> None:
    def apply(tensors: Tensors) -> None:
        change(tensors)

    edit(folder, apply)
    assert words in refusal(folder)


def test_a_half_that_overflowed_is_not_finite(folder: Path) -> None:
    edit(folder, lambda t: t.update({WORDS: torch.full((60, 16), 1e5).half()}))
    assert "not finite: word_embeddings.weight" in refusal(folder)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool])
def test_weights_are_floating_point_numbers(folder: Path, dtype: torch.dtype) -> None:
    edit(folder, lambda t: t.update({"pooler.dense.bias": torch.ones(16).to(dtype)}))
    assert "pooler.bias" in refusal(folder)


def test_all_complaints_come_at_once_but_five_names_at_most(folder: Path) -> None:
    def change(tensors: Tensors) -> None:
        for name in list(tensors)[:20]:
            del tensors[name]

    edit(folder, change)
    assert "missing: " in (words := refusal(folder)) and words.endswith("and 15 more")
    edit(folder, lambda t: {**t, **{f"encoder.x.{i}": torch.ones(1) for i in range(9)}})
    words = refusal(folder)
    assert "and 18 more; unexpected: encoder.x.0, encoder.x.1 and 7 more" in words


def test_a_folder_of_another_size(folder: Path) -> None:
    keys = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**keys, "num_hidden_layers": 3}))
    assert "missing: layers.2." in refusal(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "relu"),
        ("model_type", "albert"),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
    ],
)
def test_another_architecture_is_refused_by_name(folder: Path, key: str, value: Any) -> None:
    keys = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**keys, key: value}))
    assert key in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "model.safetensors"])
def test_missing_files(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"lacks {name}" in refusal(folder)


def test_no_folder(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    assert "no such folder" in refusal(tmp_path / "file")


# --------------------------------------------------------------------------------------- damage


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


def test_a_failed_save_leaves_the_old_folder(model: BertModel, folder: Path) -> None:
    before = shutil.copytree(folder, folder.with_name("before"))
    model.pooler.weight = torch.nn.Parameter(torch.ones(1, device="meta"))
    with pytest.raises(Exception):  # noqa: B017
        model.save_pretrained(folder)
    for path in before.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert_same(BertModel.from_pretrained(folder), BertModel.from_pretrained(before))

"""A published folder is read in every known spelling, and written back bit for bit."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minbert.encoder.bert import BertModel
from minbert.encoder.weights import _NAMES, _rename
from tests.encoder.published_folders import Tensors, assert_same, edit

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


def test_a_failed_save_leaves_the_old_folder(model: BertModel, folder: Path) -> None:
    before = shutil.copytree(folder, folder.with_name("before"))
    model.pooler.weight = torch.nn.Parameter(torch.ones(1, device="meta"))
    with pytest.raises(Exception):  # noqa: B017
        model.save_pretrained(folder)
    for path in before.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert_same(BertModel.from_pretrained(folder), BertModel.from_pretrained(before))

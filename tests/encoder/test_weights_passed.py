"""What a folder may hold beside the encoder, in how many files, and under which names."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from minbert.encoder import weights
from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.support.errors import InputError
from tests.helpers import save_encoder

POOLER = ("pooler.dense.weight", "pooler.dense.bias")


@pytest.fixture
def folder(tiny: EncoderConfig, tmp_path: Path) -> Path:
    return save_encoder(tmp_path / "encoder", tiny)


@pytest.fixture(autouse=True)
def log_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "minbert")


def stored(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def rewrite(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})


def shard(folder: Path, count: int, kind: str = "safetensors") -> None:
    """Spread the tensors over so many files, as the library does."""
    tensors = list(stored(folder).items())
    stem, whole = (
        ("model", "model.safetensors") if kind == "safetensors" else ("pytorch_model",) * 2
    )
    whole = "model.safetensors" if kind == "safetensors" else "pytorch_model.bin"
    names = [f"{stem}-{i + 1:05d}-of-{count:05d}.{kind}" for i in range(count)]
    for i, name in enumerate(names):
        part = dict(tensors[i::count])
        save_file(part, folder / name) if kind == "safetensors" else torch.save(part, folder / name)
    placed = {tensor: names[i % count] for i, (tensor, _) in enumerate(tensors)}
    index = {"metadata": {"total_size": 1}, "weight_map": placed}
    (folder / f"{whole}.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


def assert_same(a: BertModel, b: BertModel) -> None:
    assert all(torch.equal(t, b.state_dict()[name]) for name, t in a.state_dict().items())


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as refused:
        BertModel.from_pretrained(folder)
    assert "\n" not in str(refused.value) and str(folder) in str(refused.value)
    return str(refused.value)


# ------------------------------------------------------------------------------ other tensors


@pytest.mark.parametrize(
    "names",
    [
        ["classifier.weight", "classifier.bias"],
        ["fit_denses.0.weight", "fit_denses.1.bias"],
        ["qa_outputs.weight", "cls.weight", "loss_weight", "optimizer.exp_avg"],
    ],
)
@pytest.mark.parametrize("prefix", ["", "bert."])
def test_tensors_of_other_things_are_passed_over_by_name(
    folder: Path, caplog: pytest.LogCaptureFixture, names: list[str], prefix: str
) -> None:
    before = BertModel.from_pretrained(folder)
    tensors = {f"{prefix}{name}": tensor for name, tensor in stored(folder).items()}
    extra = {name: torch.full((3,), torch.nan) for name in names}  # of no interest, so unchecked
    rewrite(folder, {**tensors, **extra})
    assert_same(BertModel.from_pretrained(folder), before)
    modules = sorted({re.sub(r"\..*", ".*", name) for name in names})
    assert f"{', '.join(modules)} ({len(names)} tensors)" in caplog.text


def test_pretraining_heads_are_passed_over_in_silence(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nearly every published folder has them, and no user needs to hear of them at every run."""
    before = BertModel.from_pretrained(folder)
    names = ("predictions.bias", "predictions.decoder.weight", "seq_relationship.weight")
    heads = {f"cls.{name}": torch.full((3,), torch.nan) for name in names}
    rewrite(folder, {**stored(folder), **heads})
    assert_same(BertModel.from_pretrained(folder), before)
    assert caplog.text == ""


def test_many_are_not_all_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rewrite(folder, {**stored(folder), **{f"head{i}.bias": torch.ones(1) for i in range(40)}})
    BertModel.from_pretrained(folder)
    assert "head0.*" in caplog.text and "and 35 more (40 tensors)" in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        "encoder.layer.0.attention.self.distance_embedding.weight",
        "encoder.layer.1.attention.self.query.lora_A.weight",
        "bert.encoder.layer.1.crossattention.self.query.weight",
        "embeddings_project.weight",
    ],
)
def test_a_tensor_inside_the_encoder_would_change_it(folder: Path, name: str) -> None:
    rewrite(folder, {**stored(folder), name: torch.ones(2)})
    if "project" in name:  # beside the encoder, by its name
        BertModel.from_pretrained(folder)
    else:
        assert f"unexpected: {name}" in refusal(folder)


def test_what_is_no_tensor_is_passed_over_in_older_files(folder: Path) -> None:
    before = BertModel.from_pretrained(folder)
    torch.save({**stored(folder), "epoch": 3, "args": {"lr": 0.1}}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert_same(BertModel.from_pretrained(folder), before)


# ------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("prefix", ["module.", "module.bert.", "0.auto_model.", "model.encoder."])
def test_a_prefix_is_named(folder: Path, prefix: str) -> None:
    tensors = {f"{prefix}{name}": tensor for name, tensor in stored(folder).items()}
    rewrite(folder, {**tensors, "module.classifier.weight": torch.ones(2)})
    words = refusal(folder)
    assert repr(prefix.removesuffix("bert.")) in words and "query" not in words
    assert len(words.removeprefix(str(folder))) < 200


# ------------------------------------------------------------------------------------- shards


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_are_read_by_their_index(folder: Path, count: int, kind: str) -> None:
    before = BertModel.from_pretrained(folder)
    shard(folder, count, kind)
    assert_same(BertModel.from_pretrained(folder), before)
    files = weights.input_files(folder)
    assert files["weights"].name.endswith(".index.json") and len(files) == count + 3


def test_the_library_reads_the_same_shards(folder: Path) -> None:
    from transformers import BertModel as Reference

    shard(folder, 4)
    ours, theirs = BertModel.from_pretrained(folder), Reference.from_pretrained(folder)
    assert torch.equal(ours.pooler.weight, theirs.pooler.dense.weight)
    assert torch.equal(ours.layers[1].output.bias, theirs.encoder.layer[1].output.dense.bias)


def test_a_missing_shard_is_named(folder: Path) -> None:
    shard(folder, 3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert "lacks model-00002-of-00003.safetensors" in refusal(folder)


def test_a_tensor_in_two_shards(folder: Path) -> None:
    shard(folder, 2)
    first, second = (folder / f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    save_file({**load_file(second), **dict([next(iter(load_file(first).items()))])}, second)
    assert "in another shard too" in refusal(folder)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"weight_map": []}',
        '{"weight_map": {}}',
        '{"weight_map": {"a": 3}}',
        '{"weight_map": {"a": "../outside.safetensors"}}',
        '{"weight_map": {"a": "/etc/passwd"}}',
        '{"weight_map": {"a": ""}}',
        '{"weight_map": {"a": "gone.safetensors"}}',
        '{"weight_map": ' + "[" * 10**5,
    ],
)
def test_an_index_that_names_no_shards(folder: Path, content: str) -> None:
    shard(folder, 2)
    (folder / "model.safetensors.index.json").write_text(content)
    refusal(folder)


# ------------------------------------------------------------------------------------- pooler


def test_an_absent_pooler_begins_at_random_and_says_so(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = BertModel.from_pretrained(folder)
    rewrite(folder, {n: t for n, t in stored(folder).items() if n not in POOLER})
    again, other = (BertModel.from_pretrained(folder, seed=seed) for seed in (0, 1))
    assert "has no pooler" in caplog.text
    assert torch.equal(before.layers[1].output.weight, again.layers[1].output.weight)
    assert not any(param.is_meta for param in again.parameters())
    assert_same(again, BertModel.from_pretrained(folder, seed=0))
    assert not torch.equal(again.pooler.weight, other.pooler.weight)
    assert again.pooler.weight.std().item() == pytest.approx(
        again.config.initializer_range, rel=0.2
    )


@pytest.mark.parametrize("name", POOLER)
def test_half_a_pooler_is_damage(folder: Path, name: str) -> None:
    rewrite(folder, {n: t for n, t in stored(folder).items() if n != name})
    assert "missing: pooler." in refusal(folder)


# -------------------------------------------------------------------------------- config.json


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "gelu_python"},
        {"pad_token_id": None},
        {"pad_token_id": "0"},
        {"architectures": ["ColBERT"]},
        {"is_decoder": None, "add_cross_attention": None, "architectures": None},
        {"classifier_dropout": float("nan"), "id2label": {"0": []}, "torch_dtype": 3},
    ],
)
def test_keys_that_nothing_reads(folder: Path, changes: dict[str, Any]) -> None:
    before = BertModel.from_pretrained(folder)
    keys = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**keys, **changes}))
    assert_same(BertModel.from_pretrained(folder), before)


def test_a_folder_with_tokenizer_json_alone_is_written_as_one(folder: Path, tmp_path: Path) -> None:
    """The reference library reads the written folder, and finds the added token at its id."""
    from transformers import AutoTokenizer, BertTokenizer

    vocab = {t: i for i, t in enumerate((folder / "vocab.txt").read_text().split())}
    (folder / "vocab.txt").unlink()
    tokenizer = BertTokenizer(vocab=vocab, do_lower_case=False)
    tokenizer.add_tokens(["[E1]"])
    tokenizer.save_pretrained(folder)
    BertModel.from_pretrained(folder).save_pretrained(tmp_path / "again")
    again = AutoTokenizer.from_pretrained(tmp_path / "again")
    text = "a Film [E1] good"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    names = {path.name for path in (tmp_path / "again").iterdir()}
    assert "tokenizer.json" in names and "vocab.txt" not in names

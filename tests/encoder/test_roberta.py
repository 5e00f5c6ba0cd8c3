"""RoBERTa's and XLM-R's encoders against the reference library, with random weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.support.errors import InputError
from tests.encoder.encoders import Batch, assert_agree, each_path, no_dropout
from tests.encoder.test_bert import assert_gradients_agree

KINDS = ("roberta", "xlm-roberta")
PAD = 1
SHAPE = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": PAD,
}


def classes(kind: str) -> tuple[type, type, type]:
    """The library's configuration, encoder, and encoder with the head of masked words."""
    import transformers

    stem = {"roberta": "Roberta", "xlm-roberta": "XLMRoberta"}[kind]
    names = (f"{stem}Config", f"{stem}Model", f"{stem}ForMaskedLM")
    return tuple(getattr(transformers, name) for name in names)


def published_in(folder: Path, kind: str, *, with_head: bool = False, **changed: Any) -> Any:
    """The library's encoder with random weights and biases, saved as it saves it."""
    config, encoder, masked = classes(kind)
    model = (masked if with_head else encoder)(config(**{**SHAPE, **changed}))
    with torch.no_grad():
        for param in model.parameters():
            param.normal_(std=0.3)
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text("{}")
    return model.eval()


def rows(*lengths: int) -> Batch:
    """Random ids without the padding's, padded to the longest."""
    ids = torch.full((len(lengths), max(lengths)), PAD)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = torch.randint(2, SHAPE["vocab_size"], (length,))
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}


@each_path
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changed", [{}, {"num_attention_heads": 2, "num_hidden_layers": 1}, {"intermediate_size": 20}]
)
def test_outputs_and_gradients(
    tmp_path: Path, kind: str, attention: str, changed: dict[str, Any]
) -> None:
    published = published_in(tmp_path / "theirs", kind, **changed)
    model = BertModel.from_pretrained(tmp_path / "theirs", attention)
    for batch in (rows(9), rows(12, 5, 1, 7), rows(30, 30)):
        with torch.no_grad():
            assert_agree(model(**batch), published(**batch), batch["attention_mask"], 1e-5)
    assert_gradients_agree(model.double(), published.double(), rows(9, 4), 1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_text_uses_the_last_position(tmp_path: Path, kind: str) -> None:
    """510 and 512 tokens of 514 positions; two are never a text's."""
    published = published_in(tmp_path / "theirs", kind, num_hidden_layers=1)
    model = BertModel.from_pretrained(tmp_path / "theirs")
    assert model.config.longest == 512
    for batch in (rows(510, 3), rows(512)):
        with torch.no_grad():
            assert_agree(model(**batch), published(**batch), batch["attention_mask"], 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_read_again(tmp_path: Path, kind: str) -> None:
    """By ours to the same bits, and by the library as its own."""
    _, encoder, _ = classes(kind)
    published = published_in(tmp_path / "theirs", kind)
    model = BertModel.from_pretrained(tmp_path / "theirs")
    model.save_pretrained(tmp_path / "ours")
    (tmp_path / "ours" / "vocab.json").write_text("{}")
    again = BertModel.from_pretrained(tmp_path / "ours")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    back = encoder.from_pretrained(tmp_path / "ours").eval()
    batch = rows(8, 3)
    with torch.no_grad():
        assert torch.equal(back(**batch)[0], published(**batch)[0])
    keys = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert keys["model_type"] == kind and keys["architectures"] == [encoder.__name__]


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_masked_words_lacks_the_pooler(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its names have a prefix, its head is passed over, and the pooler begins at random."""
    published = published_in(tmp_path / "theirs", kind, with_head=True)
    stored = load_file(tmp_path / "theirs" / "model.safetensors")
    assert any(name.startswith("roberta.encoder.") for name in stored)
    assert any(name.startswith("lm_head.") for name in stored)
    with caplog.at_level("INFO", "minbert"):
        model = BertModel.from_pretrained(tmp_path / "theirs", seed=5)
    assert "has no pooler" in caplog.text and "lm_head.*" in caplog.text
    batch = rows(8, 3)
    with torch.no_grad():
        expected = published.roberta(**batch)[0]
        assert (model(**batch)["last_hidden_state"] - expected)[0].abs().max() < 1e-5


def test_a_longer_prefix_is_named(tmp_path: Path) -> None:
    published_in(tmp_path / "theirs", "roberta", with_head=True)
    path = tmp_path / "theirs" / "model.safetensors"
    stored = load_file(path)
    save_file({f"module.{name}": tensor for name, tensor in stored.items()}, path)
    with pytest.raises(InputError, match=r"begin with 'module\.'"):
        BertModel.from_pretrained(tmp_path / "theirs")


@pytest.mark.parametrize("padding", [-1, None, "1", 513])
def test_a_padding_that_leaves_no_position(tmp_path: Path, padding: Any) -> None:
    """Positions are counted from the padding's id, so it is read here."""
    published_in(tmp_path / "theirs", "roberta")
    path = tmp_path / "theirs" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token_id": padding}))
    with pytest.raises(InputError, match=r"pad_token_id|positions") as refused:
        EncoderConfig.from_file(path)
    assert "\n" not in str(refused.value)


def test_bert_counts_positions_from_its_first() -> None:
    config = no_dropout(EncoderConfig(pad_token_id=3))
    assert (config.first_position, config.longest) == (0, 512)
    other = dataclasses.replace(config, model_type="roberta")
    assert (other.first_position, other.longest) == (4, 508)

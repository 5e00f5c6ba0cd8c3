"""The published configuration keys: read, written, and refused by name."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from minbert.encoder.config import EncoderConfig
from minbert.support.errors import InputError

SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
RATES = ("hidden_dropout_prob", "attention_probs_dropout_prob")


def written(folder: Path, config: EncoderConfig, **changes: Any) -> Path:
    """A published config.json with `changes`; the value `...` takes a key out."""
    keys = {**config.to_published(), **changes}
    path = folder / "config.json"
    path.write_text(json.dumps({k: v for k, v in keys.items() if v is not ...}))
    return path


def test_defaults_are_bert_base() -> None:
    base = EncoderConfig()
    assert (base.hidden_size, base.num_hidden_layers, base.num_attention_heads) == (768, 12, 12)
    assert (base.vocab_size, base.intermediate_size) == (30522, 3072)
    assert (base.hidden_dropout_prob, base.layer_norm_eps) == (0.1, 1e-12)


def test_round_trip(tmp_path: Path, tiny: EncoderConfig) -> None:
    assert EncoderConfig.from_file(written(tmp_path, tiny)) == tiny


def test_published_keys_name_the_architecture(tiny: EncoderConfig) -> None:
    keys = tiny.to_published()
    assert keys["model_type"] == "bert" and keys["architectures"] == ["BertModel"]
    assert keys.items() >= dataclasses.asdict(tiny).items()


def said_of(path: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.set_level(logging.INFO, "minbert")
    caplog.clear()
    EncoderConfig.from_file(path)
    return [record.getMessage() for record in caplog.records]


def test_other_keys_are_passed_over_and_named_once(
    tmp_path: Path, tiny: EncoderConfig, caplog: pytest.LogCaptureFixture
) -> None:
    unread: dict[str, Any] = {"pooler_type": "first_token_transform", "id2label": {"0": "x"}}
    path = written(tmp_path, tiny, use_cache=True, **unread, pad_token_id=None)
    assert EncoderConfig.from_file(path) == dataclasses.replace(tiny, pad_token_id=0)
    (line,) = said_of(path, caplog)
    assert line.startswith(f"{path}: ") and line.endswith(": id2label, pad_token_id, pooler_type")


def test_keys_that_every_published_bert_has_are_not_worth_a_word(
    tmp_path: Path, tiny: EncoderConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """The oracle is what the reference library writes for a BERT with no head."""
    transformers = pytest.importorskip("transformers")
    transformers.BertConfig(**dataclasses.asdict(tiny)).save_pretrained(tmp_path)
    assert said_of(tmp_path / "config.json", caplog) == []
    old = {"_name_or_path": "x", "torch_dtype": "float32", "gradient_checkpointing": False}
    assert said_of(written(tmp_path, tiny, **old), caplog) == []


def test_many_or_long_keys_are_one_short_line(
    tmp_path: Path, tiny: EncoderConfig, caplog: pytest.LogCaptureFixture
) -> None:
    many = {f"{number:04d}" + "x" * 10**4: 0 for number in range(1000)}
    (line,) = said_of(written(tmp_path, tiny, **many), caplog)
    assert line.endswith(" and 980 more") and len(line) < 2000


def test_the_oldest_published_form_names_no_architecture(
    tmp_path: Path, tiny: EncoderConfig
) -> None:
    gone = {"model_type": ..., "architectures": ..., "position_embedding_type": ...}
    assert EncoderConfig.from_file(written(tmp_path, tiny, **gone)) == tiny


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value", [0, -1, 2.5, "12", None, True, [3]])
def test_sizes_are_counts(tmp_path: Path, tiny: EncoderConfig, name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name) as refused:
        EncoderConfig.from_file(written(tmp_path, tiny, **{name: value}))
    assert repr(value) in str(refused.value) and str(tmp_path) in str(refused.value)


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("value", [-0.1, 1, 1.5, "0.1", None, float("nan")])
def test_rates_are_below_one(tmp_path: Path, tiny: EncoderConfig, name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name):
        EncoderConfig.from_file(written(tmp_path, tiny, **{name: value}))


@pytest.mark.parametrize("name", RATES)
def test_a_rate_of_nought_is_no_dropout(tmp_path: Path, tiny: EncoderConfig, name: str) -> None:
    assert getattr(EncoderConfig.from_file(written(tmp_path, tiny, **{name: 0})), name) == 0


@pytest.mark.parametrize("name", ["layer_norm_eps", "initializer_range"])
@pytest.mark.parametrize("value", [-1e-5, float("nan"), float("inf"), "1e-12", None])
def test_small_numbers_are_finite_and_not_negative(
    tmp_path: Path, tiny: EncoderConfig, name: str, value: Any
) -> None:
    with pytest.raises(InputError, match=name):
        EncoderConfig.from_file(written(tmp_path, tiny, **{name: value}))


def test_heads_share_the_hidden_size_evenly(tmp_path: Path, tiny: EncoderConfig) -> None:
    with pytest.raises(InputError, match=r"hidden_size 16 is not divisible by .* 5"):
        EncoderConfig.from_file(written(tmp_path, tiny, num_attention_heads=5))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "albert"),
        ("hidden_act", "relu"),
        ("hidden_act", "gelu_new"),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("add_cross_attention", True),
    ],
)
def test_other_architectures_are_refused_by_name(
    tmp_path: Path, tiny: EncoderConfig, key: str, value: Any
) -> None:
    with pytest.raises(InputError, match=key) as refused:
        EncoderConfig.from_file(written(tmp_path, tiny, **{key: value}))
    assert repr(value) in str(refused.value)


@pytest.mark.parametrize("value", [5, "BertModel", {"a": 1}])
def test_architectures_that_are_no_list(tmp_path: Path, tiny: EncoderConfig, value: Any) -> None:
    with pytest.raises(InputError, match=r"architectures is .* not a list"):
        EncoderConfig.from_file(written(tmp_path, tiny, architectures=value))


def test_another_architecture_is_refused_without_a_model_type(
    tmp_path: Path, tiny: EncoderConfig
) -> None:
    path = written(tmp_path, tiny, model_type=..., architectures=["RobertaModel"])
    with pytest.raises(InputError, match="'RobertaModel' is not BERT's"):
        EncoderConfig.from_file(path)


@pytest.mark.parametrize("key", SIZES[:4])
def test_keys_that_must_be_there(tmp_path: Path, tiny: EncoderConfig, key: str) -> None:
    with pytest.raises(InputError, match=f"lacks {key}"):
        EncoderConfig.from_file(written(tmp_path, tiny, **{key: ...}))


@pytest.mark.parametrize("content", [b"{", b"[1]", b"null", b"\xff\xfe", b""])
def test_not_a_configuration(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json") as refused:
        EncoderConfig.from_file(path)
    assert "\n" not in str(refused.value)


def test_absent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        EncoderConfig.from_file(tmp_path / "config.json")

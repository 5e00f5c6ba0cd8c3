"""What an encoder's folder recommends: taken as it stands, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minbert.encoder.pooling import POOLING_FILE
from minbert.finetune.config import RunConfig
from minbert.finetune.recommended import RECOMMENDED, origins, recommended
from minbert.support.errors import InputError


def test_what_an_encoders_folder_recommends(tmp_path: Path) -> None:
    assert recommended(tmp_path, "finetune") == {}
    advice = {"lr": 2e-4, "head_lr": 2e-3, "epochs": 3, "pooling": "mean"}
    (tmp_path / RECOMMENDED).write_text(json.dumps({"finetune": advice}))
    assert recommended(tmp_path, "finetune") == advice
    assert recommended(tmp_path, "pretrain") == {}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[1]",
        '{"finetune": 3}',
        '{"finetune": {"seed": 3}}',
        '{"finetune": {"lr": "fast"}}',
        '{"finetune": {"lr": -1}}',
        '{"finetune": {"lr": true}}',
        '{"finetune": {"epochs": 2.5}}',
        '{"finetune": {"epochs": 0}}',
        '{"finetune": {"batch_size": null}}',
        '{"finetune": {"pooling": "max"}}',
        '{"finetune": {"pooling": ["mean"]}}',
        '{"finetune": {"head_lr": 1e-3}}',
        '{"finetune": {"lr": 1' + 400 * "0" + "}}",
        '{"pretrain": null}',
        '{"pretrain": {"lr": 1e-3, "head_lr": 1e-2}}',
        '{"finetun": {"lr": 1e-3}}',
        '{"lr": 1e-3}',
        "\udcff",
    ],
)
def test_a_recommendation_that_cannot_be_followed_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / RECOMMENDED).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=RECOMMENDED):
        recommended(tmp_path, "finetune")


def test_a_folder_is_no_recommendation(tmp_path: Path) -> None:
    (tmp_path / RECOMMENDED).mkdir()
    with pytest.raises(InputError, match=RECOMMENDED):
        recommended(tmp_path, "finetune")


def names_pooling(folder: Path, name: str) -> None:
    (folder / "1_Pooling").mkdir()
    (folder / POOLING_FILE).write_text(json.dumps({f"pooling_mode_{name}": True}))


def said(folder: Path, **typed: str) -> str:
    return "\n".join(origins(RunConfig(weights=str(folder), option="finetune", **typed)))


def test_the_pooling_that_a_folder_names_is_followed_and_said(tmp_path: Path) -> None:
    names_pooling(tmp_path, "mean_tokens")
    for option in ("finetune", "pretrain"):
        assert recommended(tmp_path, option) == {"pooling": "mean"}
    assert said(tmp_path) == f"pooling mean: as {POOLING_FILE} in the encoder's folder says"


def test_what_is_typed_or_recommended_for_this_package_wins(tmp_path: Path) -> None:
    names_pooling(tmp_path, "mean_tokens")
    assert said(tmp_path, pooling="cls") == ""
    (tmp_path / RECOMMENDED).write_text('{"finetune": {"pooling": "cls", "epochs": 2}}')
    assert recommended(tmp_path, "finetune") == {"pooling": "cls", "epochs": 2}
    assert said(tmp_path) == f"pooling, epochs: as {RECOMMENDED} in the encoder's folder says"
    assert recommended(tmp_path, "pretrain") == {"pooling": "mean"}


def test_a_pooling_that_this_package_lacks_is_said_and_not_taken(tmp_path: Path) -> None:
    """Also sentence-transformers' [CLS], which goes through no pooler."""
    names_pooling(tmp_path, "cls_token")
    assert recommended(tmp_path, "finetune") == {}
    assert "names the pooling cls, which this package does not have" in said(tmp_path)
    assert said(tmp_path, pooling="cls") == ""

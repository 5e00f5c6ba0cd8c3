"""What an encoder's folder recommends: taken as it stands, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minbert.finetune.recommended import RECOMMENDED, recommended
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

"""The pooling that a folder names, as sentence-transformers writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from minbert.encoder.pooling import POOLING_FILE, named_pooling
from minbert.support.errors import InputError


def naming(folder: Path, said: Any) -> Path:
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / POOLING_FILE).write_text(said if isinstance(said, str) else json.dumps(said))
    return folder


SWITCHES = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "lasttoken")


@pytest.mark.parametrize(
    ("on", "name"),
    [
        (["mean_tokens"], "mean"),
        (["cls_token"], "cls"),
        (["max_tokens"], "max"),
        (["mean_sqrt_len_tokens"], "mean_sqrt_len"),
        (["lasttoken"], "lasttoken"),
        (["mean_tokens", "max_tokens"], "mean+max"),
        ([], None),
    ],
)
def test_switches(tmp_path: Path, on: list[str], name: str | None) -> None:
    said = {f"pooling_mode_{switch}": switch in on for switch in SWITCHES}
    assert named_pooling(naming(tmp_path, {"word_embedding_dimension": 16, **said})) == name


@pytest.mark.parametrize("name", ["mean", "cls", "weightedmean"])
def test_a_name(tmp_path: Path, name: str) -> None:
    assert named_pooling(naming(tmp_path, {"pooling_mode": name})) == name


def test_a_folder_without_the_file_names_none(tmp_path: Path) -> None:
    assert named_pooling(tmp_path) is None


@pytest.mark.parametrize("said", ["", "{", "[]", "[" * 10**5])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, said: str) -> None:
    with pytest.raises(InputError, match="1_Pooling"):
        named_pooling(naming(tmp_path, said))

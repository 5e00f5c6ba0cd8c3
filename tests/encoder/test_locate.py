"""Which folder an encoder is read from: named, the course's, the bundled one, or the cache's."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from minbert.encoder import locate
from minbert.encoder.config import EncoderConfig
from minbert.encoder.hub import BERT, BERT_REVISION
from minbert.encoder.locate import encoder_folder
from minbert.support.errors import InputError
from tests.helpers import cache_encoder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and a bundled encoder."""
    (tmp_path / "bundled").mkdir()
    monkeypatch.setattr(locate, "BUNDLED_ENCODER", tmp_path / "bundled")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("absent", "--weights absent: no such folder, and no checkpoint of that name"),
        ("a/b", r"fetch it with: python -m minbert.download --weights a/b$"),
        ("../absent", r"--weights \.\./absent: no such folder$"),
        ("/no/such/place", "--weights /no/such/place: no such folder$"),
        ("a\0b", "no such folder$"),
        ("x" * 5000, "no such folder$"),
        ("x/y@../..", "no such folder$"),
    ],
)
def test_an_encoder_that_is_not_there_is_an_error(named: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        encoder_folder(named)


def test_a_link_that_leads_nowhere_is_no_absence(here: Path) -> None:
    (here / "data").mkdir()
    (here / "data" / "bert-base-uncased").symlink_to("/no/such/place")
    assert encoder_folder(None) == Path("data/bert-base-uncased")


def test_weights_named_win_then_the_courses_then_the_bundled(
    here: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert encoder_folder(None) == tmp_path / "bundled"
    course = here / "data" / "bert-base-uncased"
    course.mkdir(parents=True)
    assert encoder_folder(None) == Path("data/bert-base-uncased")
    (here / "mine").mkdir()
    with caplog.at_level("INFO", logger="minbert"):
        assert encoder_folder("mine") == Path("mine")
    assert "weights: mine/" in caplog.text


def test_no_encoder_at_all_is_an_error_that_says_where_one_is_looked_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "bundled").rmdir()
    with pytest.raises(InputError, match=r"no encoder: .*bert-base-uncased.*--weights"):
        encoder_folder(None)


# ------------------------------------------------------------------------- names in the local cache

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's client."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_name_in_the_local_cache_is_taken(
    cache: Path, tiny: EncoderConfig, caplog: pytest.LogCaptureFixture
) -> None:
    folder = cache_encoder(cache, "x/y", COMMIT, tiny)
    with caplog.at_level("INFO", logger="minbert"):
        assert encoder_folder("x/y") == folder
    assert f"(x/y at revision {COMMIT}, from the local cache)" in caplog.text
    assert encoder_folder(f"x/y@{COMMIT}") == folder
    with pytest.raises(InputError, match=r"download --weights x/y@v2$"):
        encoder_folder("x/y@v2")


def test_a_folder_of_the_same_name_wins(cache: Path, here: Path, tiny: EncoderConfig) -> None:
    cache_encoder(cache, "x/y", COMMIT, tiny)
    (here / "x" / "y").mkdir(parents=True)
    assert encoder_folder("x/y") == Path("x/y")


@pytest.mark.parametrize("gone", ["vocab.txt", "model.safetensors"])
def test_a_copy_that_is_not_whole_is_an_error(cache: Path, tiny: EncoderConfig, gone: str) -> None:
    (cache_encoder(cache, "x/y", COMMIT, tiny) / gone).unlink()
    with pytest.raises(InputError, match=rf"--weights x/y: .*not whole .*{gone}.*minbert.download"):
        encoder_folder("x/y")


def test_bert_by_name_is_the_folder_in_data_or_the_pinned_copy(
    cache: Path, here: Path, tiny: EncoderConfig
) -> None:
    for name in ("bert-base-uncased", BERT):
        with pytest.raises(InputError, match=rf"minbert.download --weights {name}$"):
            encoder_folder(name)
    cache_encoder(cache, "x", COMMIT, tiny)
    pinned = cache_encoder(cache, BERT, BERT_REVISION, tiny)
    assert encoder_folder("bert-base-uncased") == pinned
    (here / "data" / "bert-base-uncased").mkdir(parents=True)
    for name in ("bert-base-uncased", BERT):
        assert encoder_folder(name) == Path("data/bert-base-uncased")
    assert encoder_folder("bert-base-uncased@main") == pinned

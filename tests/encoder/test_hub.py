"""Names on the hub, and what a cache laid out by the hub's rules has of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from minbert.encoder import hub
from minbert.encoder.hub import BERT, BERT_REVISION, BERT_SHA256, Published, parse
from minbert.support.errors import InputError

COMMIT, OTHER = "0123456789abcdef0123456789abcdef01234567", "f" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


def put(cache: Path, name: str, commit: str = COMMIT, refs: tuple[str, ...] = ("main",)) -> Path:
    """A checkpoint's config.json, as the hub's own client stores it."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    for folder in (snapshot, repository / "blobs", repository / "refs"):
        folder.mkdir(parents=True, exist_ok=True)
    (repository / "blobs" / "abc").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    for ref in refs:
        (repository / "refs" / ref).write_text(commit)
    return snapshot


@pytest.mark.parametrize(
    ("text", "name", "revision"),
    [
        ("bert-base-uncased", BERT, BERT_REVISION),
        ("google-bert/bert-base-uncased", BERT, BERT_REVISION),
        (f"bert-base-uncased@{BERT_REVISION}", BERT, BERT_REVISION),
        ("bert-base-uncased@main", BERT, "main"),
        ("bert-base-cased", "bert-base-cased", "main"),
        ("prajjwal1/bert-tiny", "prajjwal1/bert-tiny", "main"),
        ("prajjwal1/bert-tiny@v1.0", "prajjwal1/bert-tiny", "v1.0"),
        ("prajjwal1/bert-tiny@refs/pr/1", "prajjwal1/bert-tiny", "refs/pr/1"),
    ],
)
def test_a_name_and_its_revision(text: str, name: str, revision: str) -> None:
    wanted = parse(text)
    assert wanted == Published(name, revision)
    assert wanted.pinned == (wanted == Published(BERT, BERT_REVISION))
    assert parse(str(wanted)) == wanted  # what is printed can be typed


BAD = [
    *("", "/", "a/b/c", "../x", "/etc/passwd", "./x", "a//b", "a--b", "a..b", "x.git", "-x"),
    *(
        "a b",
        "a\nb",
        "a\0b",
        "é",
        "x" * 97,
        "@main",
        "x@",
        "x@../..",
        "x@a/../../b",
        "x@/etc",
        "x@a b",
        "x@a\n",
    ),
    *("x@é", "x@a@b", "~/x", "C:\\x", "http://x/y"),
]


@pytest.mark.parametrize("text", BAD)
def test_what_cannot_be_a_name_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse(text)


def test_an_empty_cache_has_nothing(cache: Path) -> None:
    assert hub.cached(parse("x/y")) is None
    assert not cache.exists()


def test_a_cached_name_is_found_by_branch_tag_and_commit(cache: Path) -> None:
    folder = put(cache, "x/y", refs=("main", "v1"))
    for text in ("x/y", "x/y@v1", f"x/y@{COMMIT}"):
        assert hub.cached(parse(text)) == folder
    for text in ("x/y@v2", f"x/y@{OTHER}", "x/z", "x"):
        assert hub.cached(parse(text)) is None


def test_the_branch_decides_among_several_commits(cache: Path) -> None:
    put(cache, "x/y", OTHER, refs=())
    folder = put(cache, "x/y")
    assert hub.cached(parse("x/y")) == folder


def test_bert_is_found_at_its_pinned_revision_only(cache: Path) -> None:
    put(cache, BERT, COMMIT)
    assert hub.cached(parse("bert-base-uncased")) is None
    folder = put(cache, BERT, BERT_REVISION, refs=())
    assert hub.cached(parse("bert-base-uncased")) == folder


def test_bert_is_found_under_its_former_name(cache: Path) -> None:
    folder = put(cache, "bert-base-uncased", BERT_REVISION)
    assert hub.cached(parse("bert-base-uncased")) == folder
    assert hub.cached(parse("bert-base-uncased@main")) is None


def test_the_origin_is_read_off_the_cache_or_the_hashes(cache: Path, tmp_path: Path) -> None:
    told = hub.origin(put(cache, "x-1/y_2.z"), {})
    assert told == {"name": "x-1/y_2.z", "revision": COMMIT}
    pinned = {"name": BERT, "revision": BERT_REVISION}
    hashes = {"weights": BERT_SHA256["model.safetensors"], "vocab.txt": BERT_SHA256["vocab.txt"]}
    assert hub.origin(tmp_path / "anywhere", hashes) == pinned
    assert hub.origin(Path(), {**hashes, "vocab.txt": "0"}) is None
    assert hub.origin(Path("/"), {}) is None
    assert hub.origin(tmp_path / "snapshots" / COMMIT, {}) is None

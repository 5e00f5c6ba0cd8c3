"""Packed text on disk: made once, whole or absent, read back as it was packed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minbert.data.subwords import wordpiece
from minbert.data.tokenizer import WordPieceTokenizer
from minbert.pretrain import cache, shards
from minbert.pretrain.corpus import is_held_out
from minbert.pretrain.shards import HELD_OUT, TRAIN, PackedText, Recipe, cached
from minbert.support.errors import InputError
from tests.helpers import VOCAB, make_tokenizer
from tests.hostile_files import HOSTILE_JSON, put
from tests.pretrain.texts import random_documents, write_documents

RECIPE = Recipe(length=24, pairs=True, held_out=0.2, seed=0)
TOKENIZER = make_tokenizer(2**20)
DOCUMENTS = random_documents(120)
LONG = [document for document in random_documents(100, most_sentences=40) if len(document) > 20]


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_BUFFER", 2000)


@pytest.fixture
def folder(tmp_path: Path, small_shards: None) -> Path:
    path = write_documents(tmp_path / "a.txt", DOCUMENTS)
    return cached(tmp_path / "cache", [path], TOKENIZER, RECIPE)


def whole(text: PackedText) -> shards.PackedRows:
    return text.take(np.arange(len(text)))


def test_there_are_several_shards_of_both_parts(folder: Path) -> None:
    for part in (TRAIN, HELD_OUT):
        text = PackedText(folder, part)
        assert len(text.sizes) > 1 or part == HELD_OUT
        assert len(text) == sum(text.sizes) > 0


def test_rows_come_in_the_order_asked_for(folder: Path) -> None:
    text = PackedText(folder, TRAIN)
    everything = whole(text)
    order = np.random.default_rng(0).permutation(len(text))
    found = text.take(order)
    for name, values in vars(everything).items():
        np.testing.assert_array_equal(getattr(found, name), values[order])


def test_rows_are_padded_and_described(folder: Path) -> None:
    rows = whole(PackedText(folder, TRAIN))
    for ids, length, split in zip(rows.ids, rows.lengths, rows.b_starts, strict=True):
        assert (ids[length:] == VOCAB["[PAD]"]).all()
        assert (ids[:length] != VOCAB["[PAD]"]).all()
        assert ids[split - 1] == ids[length - 1] == VOCAB["[SEP]"]
    assert set(rows.is_random) == {0, 1}


def test_no_held_out_text_is_trained_on(folder: Path) -> None:
    """Every segment of a part's rows is from that part's documents, the random ones too."""
    for part, held_out in ((TRAIN, False), (HELD_OUT, True)):
        own = [document for document in DOCUMENTS if is_held_out(document, 0.2) == held_out]
        texts = [spelled(plain_ids(document)) for document in own]
        rows = whole(PackedText(folder, part))
        for ids, split, length in zip(rows.ids, rows.b_starts, rows.lengths, strict=True):
            for segment in (ids[1 : split - 1], ids[split : length - 1]):
                assert any(spelled(segment) in text for text in texts)


def plain_ids(document: list[str]) -> np.ndarray:
    return TOKENIZER.encode([(sentence,) for sentence in document], special=False).ids


def spelled(ids: np.ndarray) -> str:
    """Ids as text in which a run of them can be found."""
    return "".join(f" {index}," for index in ids)


def test_it_is_packed_once(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "read_documents", None)
    again = cached(tmp_path / "cache", [tmp_path / "a.txt"], TOKENIZER, RECIPE)
    assert again == folder


@pytest.mark.parametrize("change", ["length", "pairs", "held_out", "seed", "text", "vocabulary"])
def test_whatever_decides_the_rows_makes_another_folder(
    tmp_path: Path, folder: Path, change: str
) -> None:
    path, tokenizer, recipe = tmp_path / "a.txt", TOKENIZER, dict(vars(RECIPE))
    if change == "text":
        write_documents(path, DOCUMENTS[1:])
    elif change == "vocabulary":
        swapped = {**VOCAB, "plot": VOCAB["cast"], "cast": VOCAB["plot"]}
        tokenizer = WordPieceTokenizer(wordpiece(swapped), 2**20)
    else:
        recipe |= {change: {"length": 25, "pairs": False, "held_out": 0.3, "seed": 1}[change]}
    assert cached(tmp_path / "cache", [path], tokenizer, Recipe(**recipe)) != folder


def test_a_packing_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_shards: None
) -> None:
    def breaks_off(*_: object) -> Iterator[list[str]]:
        yield from DOCUMENTS[:60]
        raise InputError("the disk is gone")

    path = write_documents(tmp_path / "a.txt", DOCUMENTS)
    monkeypatch.setattr(cache, "read_documents", breaks_off)
    with pytest.raises(InputError, match="gone"):
        cached(tmp_path / "cache", [path], TOKENIZER, RECIPE)
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("documents", [[["plot"]] * 50, [], DOCUMENTS[:1]])
def test_text_that_makes_no_row_is_refused(tmp_path: Path, documents: list[list[str]]) -> None:
    path = write_documents(tmp_path / "a.txt", documents)
    with pytest.raises(InputError, match="--text"):
        cached(tmp_path / "cache", [path], TOKENIZER, RECIPE)


def test_documents_that_make_no_row_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Alone in memory, a document has no other that a random second segment could be from."""
    path = write_documents(tmp_path / "a.txt", LONG)
    buffers = [(TRAIN, LONG[1:]), (TRAIN, LONG[:1]), (HELD_OUT, LONG)]
    monkeypatch.setattr(shards, "stretches", lambda *_: buffers)
    with caplog.at_level("WARNING", "minbert"):
        cached(tmp_path / "cache", [path], TOKENIZER, RECIPE)
    assert f"1 of {2 * len(LONG)} documents begin no row" in caplog.text


@pytest.mark.parametrize(("pairs", "counted"), [(True, True), (False, False)])
def test_documents_too_short_for_a_pair_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, pairs: bool, counted: bool
) -> None:
    """Of one sentence, or over before a first part is long enough; full rows take them."""
    documents = [*LONG, ["plot"], ["plot", "cast", "dog"]]
    path = write_documents(tmp_path / "a.txt", documents)
    with caplog.at_level("WARNING", "minbert"):
        cached(tmp_path / "cache", [path], TOKENIZER, Recipe(**vars(RECIPE) | {"pairs": pairs}))
    said = f"2 of {len(documents)} documents begin no row of 24 tokens"
    assert (said in caplog.text) is counted


def test_the_same_bytes_read_as_another_kind_of_file_are_other_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "read_documents", lambda *_: iter(DOCUMENTS))
    paths = [write_documents(tmp_path / name, DOCUMENTS) for name in ("a.csv", "a.txt", "b.text")]
    table, text, same = (cached(tmp_path / "cache", [path], TOKENIZER, RECIPE) for path in paths)
    assert table != text == same


def test_of_two_that_pack_at_once_one_stays(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other finds the folder there when it is through, and takes it."""
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    fill = shards._fill

    def slow(draft: Path, *rest: Any) -> None:
        fill(draft, *rest)
        aside.rename(folder)

    aside = folder.rename(tmp_path / "aside")
    monkeypatch.setattr(shards, "_fill", slow)
    assert cached(tmp_path / "cache", [tmp_path / "a.txt"], TOKENIZER, RECIPE) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept
    assert list((tmp_path / "cache").iterdir()) == [folder]


def test_full_rows_take_documents_of_one_sentence(tmp_path: Path) -> None:
    path = write_documents(tmp_path / "a.txt", [[s] for own in DOCUMENTS for s in own])
    recipe = Recipe(length=24, pairs=False, held_out=0.2, seed=0)
    text = PackedText(cached(tmp_path / "cache", [path], TOKENIZER, recipe), TRAIN)
    rows = whole(text)
    assert (rows.lengths[:-1] == 24).mean() > 0.9
    np.testing.assert_array_equal(rows.b_starts, rows.lengths)


def test_a_damaged_cache_is_named(folder: Path) -> None:
    next(folder.glob("train-*.ids.npy")).write_bytes(b"")
    with pytest.raises(InputError, match="remove the folder"):
        PackedText(folder, TRAIN)


def test_rows_are_not_read_into_memory(folder: Path) -> None:
    text = PackedText(folder, TRAIN)
    assert all(isinstance(own, np.memmap) for own in text._shard(0))


def test_few_shards_are_open_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text larger than memory has more shards than a process may have open files."""
    open_files, most = Path("/proc/self/fd"), 2
    if not open_files.is_dir():
        pytest.skip("counts open files where Linux shows them")
    monkeypatch.setattr(shards, "_OPEN", most)
    before = len(list(open_files.iterdir()))
    text = PackedText(folder, TRAIN)
    assert len(text.sizes) > 2 * most
    whole(text)
    assert len(list(open_files.iterdir())) <= before + 2 * (most + 1)


@pytest.mark.parametrize("most", [1, 2, 7, 10**6])
def test_a_sample_is_from_all_over_the_text(folder: Path, most: int) -> None:
    text = PackedText(folder, TRAIN)
    everything, sample = whole(text), text.sample(most)
    assert len(sample.lengths) == min(most, len(text))
    np.testing.assert_array_equal(sample.ids[0], everything.ids[0])
    if most > 1:
        np.testing.assert_array_equal(sample.ids[-1], everything.ids[-1])
        places = [np.flatnonzero((everything.ids == own).all(axis=1))[0] for own in sample.ids]
        assert np.ptp(np.diff(places)) <= 1
    if most > len(text):
        np.testing.assert_array_equal(sample.ids, everything.ids)


@pytest.mark.parametrize("kind", HOSTILE_JSON)
def test_a_hostile_list_of_shards_is_named(folder: Path, kind: str) -> None:
    put(folder / "shards.json", kind)
    with pytest.raises(InputError, match="remove the folder") as refused:
        PackedText(folder, TRAIN)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("rows", [None, 7, [], {TRAIN: None}, {TRAIN: [10**30]}, {TRAIN: [[1], 2]}])
def test_a_list_of_shards_with_wrong_values_is_named(folder: Path, rows: Any) -> None:
    (folder / "shards.json").write_text(json.dumps({"rows": rows}))
    with pytest.raises(InputError, match="remove the folder"):
        PackedText(folder, TRAIN)

"""What goes through temporary files comes back, and equal keys are found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minbert.data import spooled
from minbert.data.spooled import Equals, GrowingArray, StoredTexts
from tests.helpers import ROOT

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@pytest.fixture(params=["in memory", "in files"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 3 values, parts of 4 digests, and either nothing in files or nearly all."""
    monkeypatch.setattr(spooled, "_CHUNK", 3)
    monkeypatch.setattr(spooled, "_PART", 4)
    if request.param == "in files":
        monkeypatch.setattr(spooled, "_IN_MEMORY", 8)


every_place = settings(deadline=None, max_examples=60)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("kind", [np.int8, np.int64, np.float64])
def test_numbers_come_back_in_the_order_they_were_added(kind: type[np.generic]) -> None:
    array = GrowingArray(kind)
    assert len(array) == 0 and array.whole().tolist() == []
    expected: list[int] = []
    for value in range(10):
        array.append(value)
        expected.append(value)
        assert array.read(max(0, value - 3), value + 1).tolist() == expected[-4:]
    array.extend(np.arange(20))
    array.append(7)
    expected += [*range(20), 7]
    assert len(array) == len(expected)
    whole = array.whole()
    assert whole.dtype == kind and whole.tolist() == expected
    assert type(whole) is np.ndarray and not whole.flags.writeable


@pytest.mark.usefixtures("place")
def test_a_whole_array_outlives_what_made_it() -> None:
    array = GrowingArray(np.int64)
    array.extend(np.arange(1000))
    whole = array.whole()
    del array
    assert whole.sum() == 1000 * 999 // 2


@every_place
@given(texts=st.lists(_TEXT, max_size=14))
def test_texts_come_back(texts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spooled, "_CHUNK", 3)
        patch.setattr(spooled, "_IN_MEMORY", 8)
        kept = StoredTexts(texts)
        assert list(kept) == texts and len(kept) == len(texts)
        assert kept[1:9:2] == texts[1:9:2] and kept[::-1] == texts[::-1]
        for index in range(-len(texts), len(texts)):
            assert kept[index] == texts[index]
        for outside in (len(texts), -len(texts) - 1):
            with pytest.raises(IndexError):
                kept[outside]


def test_texts_can_be_read_and_added_in_turn() -> None:
    kept = StoredTexts(["a"])
    assert kept[0] == "a"
    kept.append("bé")
    assert list(kept) == ["a", "bé"]


@every_place
@given(keys=st.lists(st.sampled_from(["", "a", "b", "a b", "é", "0", "00"]), max_size=40))
def test_the_first_of_equal_keys_is_found(keys: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spooled, "_PART", 4)
        equals = Equals()
        for key in keys:
            equals.append(key)
        assert equals.first().tolist() == [keys.index(key) for key in keys]


def test_many_keys_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooled, "_PART", 1000)
    numbers = np.random.default_rng(0).integers(0, 3000, 10_000)
    equals = Equals()
    for number in numbers:
        equals.append(f"key {number}")
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    assert np.array_equal(equals.first(), first[inverse])


_TOO_MUCH = """
import resource, signal
import numpy as np
from minbert.support.command import run_command
from minbert.data.spooled import GrowingArray
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**23, 2**23))
array = GrowingArray(np.int64)
raise SystemExit(run_command(lambda _: [array.extend(np.arange(2**17)) for _ in range(20)]))
"""


def test_a_full_disk_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TOO_MUCH],
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}: cannot hold what is read (File too large)")
    assert done.stderr.endswith("TMPDIR\n") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("sizes", [[30] * 5, [1] * 9, [0, 0, 50, 0, 1]])
def test_what_is_read_at_a_time_is_bounded_in_bytes(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int]
) -> None:
    monkeypatch.setattr(spooled, "_CHUNK", 3)
    kept = StoredTexts("x" * size for size in sizes)
    monkeypatch.setattr(spooled, "_IN_MEMORY", 40)
    assert list(map(len, kept)) == sizes
    start = 0
    while start < len(sizes):
        stop = kept.stop(start)
        assert start < stop <= min(start + 3, len(sizes))
        assert stop == start + 1 or sum(sizes[start:stop]) <= 40
        start = stop


def test_passes_over_the_digests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooled, "_PART", 10)
    monkeypatch.setattr(spooled, "_PASSES", 3)
    equals, passes = Equals(), []
    real = equals._part
    monkeypatch.setattr(equals, "_part", lambda *which: passes.append(which) or real(*which))
    for number in range(200):
        equals.append(str(number % 70))
    assert equals.first().tolist() == [number % 70 for number in range(200)]
    assert len(passes) == 3

"""A row becomes an example with its id, texts and label; a split is cut, or drawn from."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from minbert.data.examples import Split
from minbert.tasks.registry import TASKS
from tests.data.course_files import FIRST, LAST, SST, STS, Reader

SST_TEST = b"0\t\tid\tsentence\n"


def test_limit_reads_the_first_rows_only(reader: Reader) -> None:
    content = SST + FIRST + b"1\tx\t\t3\n" + LAST
    assert [e.id for e in reader(content, limit=1).examples] == ["first"]
    assert reader(content, limit=1).bad_rows == []
    two = reader(content, limit=2)
    assert (two.rows, len(two.examples), len(two.bad_rows)) == (2, 1, 1)
    assert reader(content, limit=99).rows == 3


def test_rows_are_drawn_from_the_whole_file_and_a_larger_draw_holds_a_smaller(
    reader: Reader,
) -> None:
    rows = [b"%d\t%d\ta film\t3\n" % (n, n) for n in range(1000)]
    split = reader(SST + b"".join(rows))
    drawn = {count: [int(e.id) for e in split.drawn(count).examples] for count in (50, 100, 2000)}
    assert len(drawn[50]) == 50 and set(drawn[50]) < set(drawn[100])
    assert drawn[100] == sorted(drawn[100]) and drawn[2000] == list(range(1000))
    expected, spread = 499.5, 1000 / math.sqrt(12 * 100)  # a uniform draw's mean
    assert abs(sum(drawn[100]) / 100 - expected) < 4 * spread
    assert [e.id for e in split.drawn(50).examples] == [str(n) for n in drawn[50]]


def test_columns_are_found_by_name_in_any_order(reader: Reader) -> None:
    content = b"sentiment\textra\tsentence\tid\n3\t?\ta film\tx\n"
    (example,) = reader(content).examples
    assert (example.id, example.texts, example.label) == ("x", ("a film",), 3.0)


def test_the_odd_test_header_is_understood(reader: Reader) -> None:
    split = reader(SST_TEST + b"0\t7\t00012\ta film\n", name="test")
    (example,) = split.examples
    assert (example.id, example.texts, example.label) == ("00012", ("a film",), None)


def test_ids_are_opaque_strings(reader: Reader) -> None:
    ids = ["007", "7", "7.0", "a b", "é", "1e3", "None"]
    rows = "".join(f"{i}\t{name}\ta film\t3\n" for i, name in enumerate(ids)).encode()
    assert [example.id for example in reader(SST + rows).examples] == ids


@pytest.mark.parametrize("label", ["0", "0.0", "2.37", "5", "5.0"])
def test_a_similarity_is_any_number_from_0_to_5(reader: Reader, label: str) -> None:
    content = STS + f"0\tx\ta film\ta plot\t{label}\n".encode()
    assert reader(content, task="sts").examples[0].label == float(label)


@pytest.mark.parametrize("label", ["5.01", "-0.1", "nan", "inf", "-inf", "high"])
def test_a_similarity_outside_is_reported(reader: Reader, label: str) -> None:
    content = STS + f"0\tx\ta\tb\t3\n1\ty\ta film\ta plot\t{label}\n".encode()
    split = reader(content, task="sts")
    assert [example.id for example in split.examples] == ["x"]
    assert label in split.bad_rows[0].what


def test_an_id_is_opaque(reader: Reader) -> None:
    """A no-break space or another script in an id is no reason to leave a row out."""
    split = reader("\tid\tsentence\tsentiment\n1\té\u00a0ü\ta film\t3\n".encode())
    assert [example.id for example in split.examples] == ["é\u00a0ü"]
    assert split.bad_rows == []


def test_rows_from_memory_are_a_split() -> None:
    labelled = Split.of(TASKS["sts"], [("a", "b"), ("c", "d")], [1.0, 2.0], name="mine")
    assert [(row.id, row.texts, row.label) for row in labelled.examples] == [
        ("1", ("a", "b"), 1.0),
        ("2", ("c", "d"), 2.0),
    ]
    assert (labelled.name, labelled.path, labelled.rows) == ("train", Path("mine"), 2)
    assert [row.label for row in Split.of(TASKS["sst"], [("a",)]).examples] == [None]
    with pytest.raises(ValueError, match="shorter"):
        Split.of(TASKS["sst"], [("a",), ("b",)], [1.0])

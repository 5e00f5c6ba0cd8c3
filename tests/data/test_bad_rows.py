"""Every row is used or reported, and no bad row harms another."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minbert.data.reading import read_split
from minbert.support.errors import InputError
from minbert.tasks.registry import TASKS
from tests.data.course_files import FIRST, LAST, SST, STS, Reader

# what is wrong, the row, whether its id can be read, a word of the report
BAD_ROWS = {
    "no label": (b"1\tx\ta film\t", True, "no label"),
    "blank label": (b"1\tx\ta film\t  ", True, "no label"),
    "not a number": (b"1\tx\ta film\tgood", True, "good"),
    "nan": (b"1\tx\ta film\tnan", True, "nan"),
    "underscore": (b"1\tx\ta film\t0_1", True, "0_1"),
    "digits of another script": ("1\tx\ta film\t٣".encode(), True, "٣"),
    "control character in the id": (b"1\tx\x07y\ta film\t3", False, "control character"),
    "infinite": (b"1\tx\ta film\tinf", True, "inf"),
    "above the range": (b"1\tx\ta film\t5", True, "0..4"),
    "below the range": (b"1\tx\ta film\t-1", True, "0..4"),
    "between classes": (b"1\tx\ta film\t2.5", True, "0..4"),
    "no text": (b"1\tx\t\t3", True, "empty sentence"),
    "blank text": (b"1\tx\t \xc2\xa0 \t3", True, "empty sentence"),
    "quoted nothing": (b'1\tx\t""\t3', True, "empty sentence"),
    "duplicate id": (b"1\tfirst\ta film\t3", False, "duplicate id first"),
    "too few columns": (b"1\tx\ta film", True, "3 columns, not 4"),
    "too many columns": (b"1\tx\ta film\t3\t3", True, "5 columns, not 4"),
    "open quote": (b'1\tx\t"a film\t3', True, "quoting"),
    "text after a quote": (b'1\tx\t"a" film\t3', True, "quoting"),
    "invalid UTF-8": (b"1\tx\tcaf\xe9\t3", True, "UTF-8"),
    "no id": (b"1\t\ta film\t3", False, "no id"),
    "blank id": (b"1\t  \ta film\t3", False, "no id"),
    "one word": (b"film", False, "no id"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_a_bad_row_is_reported_and_left_out_of_train(reader: Reader, kind: str) -> None:
    row, _, words = BAD_ROWS[kind]
    split = reader(SST + FIRST + row + b"\n" + LAST)
    assert [example.id for example in split.examples] == ["first", "last"]
    assert [example.label for example in split.examples] == [3.0, 1.0]
    (report,) = split.bad_rows
    assert str(report).startswith(f"{split.path}:3: ")
    assert words in report.what
    assert split.rows == 3


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_a_bad_dev_row_is_predicted_where_its_id_is_readable_and_never_scored(
    reader: Reader, kind: str
) -> None:
    row, readable, _ = BAD_ROWS[kind]
    split = reader(SST + FIRST + row + b"\n" + LAST, name="dev")
    expected = ["first", "x", "last"] if readable else ["first", "last"]
    assert [example.id for example in split.examples] == expected
    assert all(example.label is None for example in split.examples if example.id == "x")
    assert len(split.bad_rows) == 1


@pytest.mark.parametrize("kind", ["no text", "open quote", "invalid UTF-8", "too many columns"])
def test_a_bad_test_row_is_predicted(reader: Reader, kind: str) -> None:
    split = reader(SST + FIRST + BAD_ROWS[kind][0] + b"\n" + LAST, name="test")
    assert [example.id for example in split.examples] == ["first", "x", "last"]
    assert len(split.bad_rows) == 1


def test_an_id_that_is_not_utf8_is_never_invented(reader: Reader) -> None:
    split = reader(SST + FIRST + b"1\tx\xff\ta film\t3\n" + LAST, name="dev")
    assert [example.id for example in split.examples] == ["first", "last"]
    assert len(split.bad_rows) == 1


def test_a_row_of_empty_cells_is_reported_and_an_empty_line_is_no_row(reader: Reader) -> None:
    split = reader(SST + FIRST + b"\n  \n" + b"\t\t\t\n" + LAST)
    assert (split.rows, len(split.examples), len(split.bad_rows)) == (3, 2, 1)
    assert split.bad_rows[0].line == 5


def test_a_bad_row_with_an_id_already_used_is_told_both(reader: Reader) -> None:
    split = reader(SST + FIRST + b"1\tfirst\t\t3\n", name="dev")
    assert [example.label for example in split.examples] == [3.0]
    (row,) = split.bad_rows
    assert "empty sentence" in row.what and row.what.endswith("; duplicate id first")


def test_the_first_of_two_equal_ids_is_used_and_a_dropped_row_claims_none(reader: Reader) -> None:
    rows = b"1\tx\t\t3\n2\tx\ta good film\t4\n3\tx\ta bad film\t0\n"
    split = reader(SST + FIRST + rows)
    assert [(e.id, e.label) for e in split.examples] == [("first", 3.0), ("x", 4.0)]
    assert [row.line for row in split.bad_rows] == [3, 5]


@given(
    kinds=st.lists(st.sampled_from(["good", *BAD_ROWS]), min_size=1, max_size=12),
    name=st.sampled_from(["train", "dev"]),
)
@settings(max_examples=60, deadline=None)
def test_rows_in_are_rows_used_plus_rows_reported(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], name: str
) -> None:
    rows = [
        b"%d\trow%d\ta film\t2" % (i, i) if kind == "good" else BAD_ROWS[kind][0]
        for i, kind in enumerate(kinds)
    ]
    path = tmp_path_factory.getbasetemp() / "mixed.csv"
    path.write_bytes(SST + FIRST + b"\n".join(rows))
    split = read_split(TASKS["sst"], name, path)
    used = [example for example in split.examples if example.label is not None]
    assert split.rows == len(kinds) + 1 == len(used) + len(split.bad_rows)
    assert len(used) == kinds.count("good") + 1
    assert len({example.id for example in split.examples}) == len(split.examples)


def test_strict_stops_at_the_first_bad_row_and_counts_the_rest(reader: Reader) -> None:
    rows = b"1\tx\t\t3\n2\ty\ta film\tno\n"
    with pytest.raises(InputError, match=r"rows\.csv:3: .*empty sentence.* 1 more"):
        reader(SST + FIRST + rows, strict=True)
    assert reader(SST + FIRST + LAST, strict=True).rows == 2


def test_either_text_of_a_pair_may_be_what_is_missing(reader: Reader) -> None:
    split = reader(STS + b"0\tx\ta\tb\t3\n1\ty\t\tb\t3\n2\tz\ta\t\t3\n", task="sts", name="dev")
    assert [row.what for row in split.bad_rows] == [
        "id y: empty sentence1",
        "id z: empty sentence2",
    ]
    assert split.examples[2].texts == ("a", "")

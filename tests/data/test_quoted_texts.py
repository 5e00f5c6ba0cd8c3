"""A quoted text may span lines, and a stray quote swallows no other row."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minbert.data.reading import read_split
from minbert.tasks.registry import TASKS
from tests.data.course_files import FIRST, LAST, SST, Reader


def test_an_open_quote_on_the_last_line_is_reported(reader: Reader) -> None:
    split = reader(SST + FIRST + b'1\tx\t"a film\t3')
    assert [example.id for example in split.examples] == ["first"]
    assert "quoting" in split.bad_rows[0].what


_TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1),
    st.text(st.sampled_from('a"\t\n'), min_size=1),
).filter(lambda text: text.strip())


@given(pairs=st.lists(st.tuples(_TEXT, _TEXT), min_size=1, max_size=8), end=st.sampled_from("\n\r"))
@settings(max_examples=150, deadline=None)
def test_what_a_csv_writer_wrote_comes_back_identical(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], end: str
) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n" if end == "\n" else "\r\n")
    writer.writerow(["", "id", "sentence1", "sentence2", "similarity"])
    writer.writerows([i, f"{i:05d}", *pair, 2.5] for i, pair in enumerate(pairs))
    path = tmp_path_factory.getbasetemp() / "written.csv"
    path.write_bytes(stream.getvalue().encode())
    split = read_split(TASKS["sts"], "train", path)
    assert [example.texts for example in split.examples] == pairs
    assert [example.id for example in split.examples] == [f"{i:05d}" for i in range(len(pairs))]
    assert split.bad_rows == []


FORGED = b'1\tx\t"first line\n\n7\tforged\ta film\t3\nlast line"\t4\n'


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_record_of_several_lines_is_one_example(reader: Reader, end: bytes) -> None:
    split = reader((SST + FIRST + FORGED + LAST).replace(b"\n", end))
    assert [example.id for example in split.examples] == ["first", "x", "last"]
    text = "first line\n\n7\tforged\ta film\t3\nlast line".replace("\n", end.decode())
    assert split.examples[1].texts == (text,)
    assert (split.rows, split.bad_rows) == (3, [])


@pytest.mark.parametrize("name", ["train", "dev"])
def test_a_bad_record_of_several_lines_is_reported_once_where_it_begins(
    reader: Reader, name: str
) -> None:
    split = reader(SST + FIRST + FORGED.replace(b"\t4\n", b"\t4\t4\n") + LAST, name=name)
    assert {example.id for example in split.examples} <= {"first", "x", "last"}
    assert [(row.line, "5 columns" in row.what) for row in split.bad_rows] == [(3, True)]
    assert split.rows == 3


@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_an_open_quote_harms_no_row_below(reader: Reader, name: str) -> None:
    below = b'2\ty\t"a quoted film"\t2\n3\tz\t"two\nlines"\t2\n'
    split = reader(SST + FIRST + b'1\tx\t"a film\t3\n' + below + LAST, name=name)
    assert {"first", "y", "z", "last"} <= {example.id for example in split.examples}
    assert [(row.line, "quoting" in row.what) for row in split.bad_rows] == [(3, True)]


def test_two_stray_quotes_do_not_swallow_the_rows_between(reader: Reader) -> None:
    rows = b'1\tx\t"a film\t3\n' + b"2\ty\ta film\t\n3\tz\ta film\t2\n" + b'4\tw\ta film"\t2\n'
    split = reader(SST + rows)
    assert [example.id for example in split.examples] == ["z", "w"]
    assert [row.line for row in split.bad_rows] == [2, 3]


@pytest.mark.parametrize("below", [1, 2, 5])
def test_rows_that_two_stray_quotes_take_in_are_not_lost_in_silence(
    reader: Reader, below: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Without labels nothing tells such a record from a long text: csv decides, and we say it."""
    rows = [f"{i}\tid{i}\ta film" for i in range(below + 2)]
    rows[0] = '0\tid0\t"a film'
    rows[below] += '"'
    split = reader("\n".join(["\tid\tsentence", *rows, ""]).encode(), name="test")
    assert [example.id for example in split.examples] == ["id0", f"id{below + 1}"]
    assert "1 quoted texts take in lines that look like rows, the first at line 2" in caplog.text


def test_limit_counts_records(reader: Reader) -> None:
    split = reader(SST + FORGED + LAST, limit=1)
    assert ([example.id for example in split.examples], split.rows) == (["x"], 1)


def test_where_quotes_mean_nothing_a_line_is_a_record(reader: Reader, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(SST + b'1\tx\t"a film\n2\ty\ta film"\t2\n3\tz\t"a" film\t2\n')
    split = read_split(replace(TASKS["sst"], quotes=False), "train", path)
    assert [example.texts for example in split.examples] == [('a film"',), ('"a" film',)]
    assert [row.line for row in split.bad_rows] == [2]

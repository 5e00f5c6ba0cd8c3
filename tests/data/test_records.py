"""Records of several lines: one record stays one, and a stray quote harms its own line only."""

from __future__ import annotations

import csv
import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minbert.data.records import whole_records

Lines = list[tuple[int, bytes]]


def joined(content: bytes, delimiter: bytes = b",", is_row=lambda line: False) -> Lines:
    return list(whole_records(enumerate(io.BytesIO(content), 1), delimiter, is_row))


CELLS = st.text(st.sampled_from('ab"\n\r, ;'), max_size=8)


@given(rows=st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_what_csv_wrote_has_as_many_records_as_rows(rows: list[list[str]]) -> None:
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows(rows)
    records = joined(stream.getvalue().encode())
    read = [
        next(csv.reader([raw.decode().removesuffix("\r\n")], strict=True)) for _, raw in records
    ]
    assert read == rows
    begins = [1]
    for _, raw in records:
        begins.append(begins[-1] + raw.count(b"\n"))
    assert [number for number, _ in records] == begins[:-1]


@given(lines=st.lists(st.text(st.sampled_from('ab",'), max_size=9), max_size=9))
@settings(max_examples=300, deadline=None)
def test_no_byte_is_lost_added_or_moved(lines: list[str]) -> None:
    content = "\n".join(lines).encode()
    assert b"".join(raw for _, raw in joined(content)) == content


@pytest.mark.parametrize("after", [b"c,d\n" * 5, b'c,"d"\n', b'c,d\ne,"f" g\n'])
def test_a_quote_that_never_closes_swallows_nothing(after: bytes) -> None:
    content = b'1,2\na,"b\n' + after
    assert [raw for _, raw in joined(content)] == content.splitlines(keepends=True)


def test_a_record_after_an_open_quote_is_whole() -> None:
    content = b'a,"b\nc,d\ne,"f\ng"\nh,i\n'
    assert joined(content) == [
        (1, b'a,"b\n'), (2, b"c,d\n"), (3, b'e,"f\ng"\n'), (5, b"h,i\n")
    ]  # fmt: skip


def test_two_stray_quotes_between_whole_rows_swallow_nothing() -> None:
    content = b'a,"b\nc,d\ne,f"\n'
    assert len(joined(content)) == 1
    assert len(joined(content, is_row=lambda line: line.count(b",") == 1)) == 3
    assert len(joined(b'a,"b\nc,d\nf"\n', is_row=lambda line: line.count(b",") == 1)) == 1


def test_a_file_of_open_quotes_is_read_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is handed over twice at most, though each could begin an endless record."""
    pulled = 0

    def counted():
        nonlocal pulled
        for number in range(1, 3001):
            pulled += 1
            yield number, b'x","\n'

    scans = 0
    reader = csv.reader

    def counting_reader(*args, **settings):
        nonlocal scans
        scans += 1
        return reader(*args, **settings)

    monkeypatch.setattr(csv, "reader", counting_reader)
    assert len(list(whole_records(counted(), b",", lambda line: False))) == 3000
    assert pulled == 3000 and scans <= 3


def test_random_files_split_as_csv_splits_them_wherever_csv_can() -> None:
    draw = random.Random(0)
    for _ in range(500):
        content = "".join(draw.choice('ab",\n') for _ in range(draw.randrange(30)))
        try:
            rows = list(csv.reader(io.StringIO(content), strict=True))
        except csv.Error:
            continue
        assert len(joined(content.encode())) == len(rows)

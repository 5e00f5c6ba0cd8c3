"""A file of the course is read whole, whatever wrote it, or refused with what was expected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from minbert.data.reading import read_split
from minbert.support.errors import InputError
from minbert.tasks.registry import TASKS
from tests.data.course_files import FIRST, LAST, SST, Reader

REAL = [
    ("sst", "ids-sst", (8544, 1101, 2210)),
    ("cfimdb", "ids-cfimdb", (1707, 245, 488)),
    ("sts", "sts", (6040, 863, 1725)),
]
REAL_FILES = [
    (task, split, f"{stem}-{suffix}.csv", count)
    for task, stem, counts in REAL
    for split, suffix, count in zip(
        ("train", "dev", "test"), ("train", "dev", "test-student"), counts, strict=True
    )
]


@pytest.mark.parametrize(("task", "split", "file", "count"), REAL_FILES)
def test_real_files_are_read_whole(
    course_data: Path, task: str, split: str, file: str, count: int
) -> None:
    read = read_split(TASKS[task], split, course_data / file)
    assert (read.rows, len(read.examples), read.bad_rows) == (count, count, [])
    assert len({example.id for example in read.examples}) == count
    assert all((example.label is None) == (split == "test") for example in read.examples)


def test_real_quora_dev_reports_its_two_rows_and_still_has_them_predicted(
    course_data: Path,
) -> None:
    path = course_data / "quora-dev.csv"
    read = read_split(TASKS["para"], "dev", path)
    assert (read.rows, len(read.examples), len(read.bad_rows)) == (20214, 20214, 2)
    unlabelled = {example.id for example in read.examples if example.label is None}
    assert unlabelled == {"ad118c967d683c93883bf072d", "9054345d02cd6c5642a4904dc"}
    lines = path.read_text(encoding="utf-8").split("\n")
    assert {lines[row.line - 1].split("\t")[1] for row in read.bad_rows} == unlabelled


@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_a_header_in_the_midst_of_a_file_is_no_row(reader: Reader, name: str) -> None:
    split = reader(SST + FIRST + SST.replace(b"id", b" id ") + LAST, name=name)
    assert [example.id for example in split.examples] == ["first", "last"]
    assert [(row.line, row.what) for row in split.bad_rows] == [(3, "the header again")]


@pytest.mark.parametrize("twice", ["id", "sentence", "sentiment"])
def test_a_needed_column_that_stands_twice_is_an_error(reader: Reader, twice: str) -> None:
    head = f"id\tsentence\tsentiment\tx\t{twice}\tx\n"
    with pytest.raises(InputError, match=f"two columns {twice}"):
        reader(head.encode() + b"a\ta film\t3\t0\t2\t0\n")


def test_header_cells_may_have_blanks_and_quotes_around_them(reader: Reader) -> None:
    split = reader(b'\t id \t" sentence"\tsentiment \n' + FIRST)
    assert [example.id for example in split.examples] == ["first"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"\xef\xbb\xbf", "expected"),
        (b",id,sentence,sentiment\n0,x,a film,3\n", "tab"),
        (b"\tid\tsentence\tlabel\n0\tx\ta film\t3\n", "no column sentiment"),
        (b"\tname\ttext\tsentiment\n", "no column id, sentence"),
        (b"0\tx\ta film\t3\n", "no column"),
        (b'\t"id\tsentence\tsentiment\n', "quoting"),
        ("\tid\tsentence\tsentiment\n".encode("utf-16"), "UTF-8"),
    ],
)
def test_a_file_that_is_not_the_courses_is_an_error_that_says_what_was_expected(
    reader: Reader, content: bytes, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        reader(content)
    assert "rows.csv" in str(caught.value)
    assert words in str(caught.value)
    assert "expected tab-separated columns id, sentence, sentiment" in str(caught.value)


def test_an_absent_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_split(TASKS["sst"], "train", path)


@pytest.mark.parametrize("rows", [b"", b"0\tx\t\t3\n1\ty\ta film\t\n"])
def test_a_train_file_without_a_usable_row_is_an_error(reader: Reader, rows: bytes) -> None:
    with pytest.raises(InputError, match="no usable row"):
        reader(SST + rows)


def test_a_dev_file_without_a_single_label_is_an_error(reader: Reader) -> None:
    with pytest.raises(InputError):  # nothing to score: the best epoch could not be chosen
        reader(SST + b"0\tx\ta film\t\n1\ty\ta film\t\n", name="dev")


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: content.rstrip(b"\n"),
    ],
    ids=["byte order mark", "CRLF", "no last newline"],
)
def test_variants_of_the_same_file_read_alike(
    reader: Reader, change: Callable[[bytes], bytes]
) -> None:
    plain, other = reader(SST + FIRST + LAST), reader(change(SST + FIRST + LAST))
    assert list(other.examples) == list(plain.examples)
    assert other.bad_rows == []


@pytest.mark.parametrize("lines", [0, 1, 3])
def test_gigabytes_without_a_line_end_are_refused_before_they_are_read(
    tmp_path: Path, lines: int
) -> None:
    path = tmp_path / "sst.csv"
    path.write_bytes((SST + FIRST + LAST)[: len(SST) if lines == 1 else None] * bool(lines))
    with path.open("r+b") as stream:
        stream.truncate(40 * 2**30)  # a sparse file: nothing is written
    with pytest.raises(InputError, match=rf"sst\.csv:{lines + 1}: a line of 64 MB"):
        read_split(TASKS["sst"], "train", path)


def test_a_text_of_megabytes_is_read(reader: Reader) -> None:
    text = b"long " * 10**6
    split = reader(SST + FIRST + b"1\tx\t" + text + b"\t3\n" + LAST)
    assert [example.id for example in split.examples] == ["first", "x", "last"]

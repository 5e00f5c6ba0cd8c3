"""Reading the course's files: every row is used or reported, and no bad row harms another."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minbert.data.examples import Split
from minbert.data.reading import read_split
from minbert.support.errors import InputError
from minbert.tasks.registry import TASKS

Reader = Callable[..., Split]

SST = b"\tid\tsentence\tsentiment\n"
SST_TEST = b"0\t\tid\tsentence\n"
STS = b"\tid\tsentence1\tsentence2\tsimilarity\n"
FIRST, LAST = b"0\tfirst\ta good film\t3\n", b"9\tlast\ta bad film\t1\n"

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


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """Writes bytes to a file and reads it as a split."""

    def read(content: bytes, task: str = "sst", name: str = "train", **settings: object) -> Split:
        path = tmp_path / "rows.csv"
        path.write_bytes(content)
        return read_split(TASKS[task], name, path, **settings)

    return read


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


def test_an_open_quote_on_the_last_line_is_reported(reader: Reader) -> None:
    split = reader(SST + FIRST + b'1\tx\t"a film\t3')
    assert [example.id for example in split.examples] == ["first"]
    assert "quoting" in split.bad_rows[0].what


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


def test_limit_counts_records(reader: Reader) -> None:
    split = reader(SST + FORGED + LAST, limit=1)
    assert ([example.id for example in split.examples], split.rows) == (["x"], 1)


def test_header_cells_may_have_blanks_and_quotes_around_them(reader: Reader) -> None:
    split = reader(b'\t id \t" sentence"\tsentiment \n' + FIRST)
    assert [example.id for example in split.examples] == ["first"]


def test_where_quotes_mean_nothing_a_line_is_a_record(reader: Reader, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(SST + b'1\tx\t"a film\n2\ty\ta film"\t2\n3\tz\t"a" film\t2\n')
    split = read_split(replace(TASKS["sst"], quotes=False), "train", path)
    assert [example.texts for example in split.examples] == [('a film"',), ('"a" film',)]
    assert [row.line for row in split.bad_rows] == [2]


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


def test_strict_stops_at_the_first_bad_row_and_counts_the_rest(reader: Reader) -> None:
    rows = b"1\tx\t\t3\n2\ty\ta film\tno\n"
    with pytest.raises(InputError, match=r"rows\.csv:3: .*empty sentence.* 1 more"):
        reader(SST + FIRST + rows, strict=True)
    assert reader(SST + FIRST + LAST, strict=True).rows == 2


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


def test_either_text_of_a_pair_may_be_what_is_missing(reader: Reader) -> None:
    split = reader(STS + b"0\tx\ta\tb\t3\n1\ty\t\tb\t3\n2\tz\ta\t\t3\n", task="sts", name="dev")
    assert [row.what for row in split.bad_rows] == [
        "id y: empty sentence1",
        "id z: empty sentence2",
    ]
    assert split.examples[2].texts == ("a", "")


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

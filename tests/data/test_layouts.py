"""Files that are not the course's: their delimiter is found, or they hold JSON objects."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minbert.data.examples import Split
from minbert.data.reading import columns_of, ids_in, read_split
from minbert.support.errors import InputError
from minbert.tasks.own import Definition
from minbert.tasks.task import Task

FILES = {"train": "t", "dev": "d"}
MOOD = Definition("mood", "classes", ("line", "reply"), "mood", FILES, ("glad", "sad, really"))
TASK = MOOD.task()
MARKS = [",", "\t", ";", "|"]
ROWS = [
    ("it is sunny", "so it is; yes", "glad"),
    ('she said "no", and\nleft | then', "a\ttab, a comma", "sad, really"),
    ("déjà vu", "'quoted'", "glad"),
]
EXPECTED = [(line, reply) for line, reply, _ in ROWS]


def delimited(rows: list[tuple[str, ...]], mark: str, header: tuple[str, ...]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, delimiter=mark, lineterminator="\n").writerows([header, *rows])
    return stream.getvalue().encode()


def json_lines(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def read(folder: Path, content: bytes, name: str = "rows.csv", task: Task = TASK, **how) -> Split:
    path = folder / name
    path.write_bytes(content)
    return read_split(task, how.pop("split", "train"), path, **how)


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.txt"])
def test_the_delimiter_is_found_whatever_the_files_name(
    tmp_path: Path, mark: str, name: str
) -> None:
    split = read(tmp_path, delimited(ROWS, mark, ("line", "reply", "mood")), name)
    assert [example.texts for example in split.examples] == EXPECTED
    assert [example.label for example in split.examples] == [0.0, 1.0, 0.0]
    assert [example.id for example in split.examples] == ["1", "2", "3"]
    assert (split.rows, split.bad_rows) == (3, [])


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1).filter(
    str.strip
)


@pytest.mark.parametrize("mark", MARKS)
@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_pythons_csv_writes_is_read_back(
    tmp_path: Path, mark: str, rows: list[tuple[str, str]]
) -> None:
    content = delimited([(*row, "glad") for row in rows], mark, ("line", "reply", "mood"))
    split = read(tmp_path, content)
    assert [example.texts for example in split.examples] == rows
    assert split.bad_rows == []


@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_json_objects_are_read_back(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    content = json_lines([{"mood": "glad", "line": a, "reply": b, "more": [1]} for a, b in rows])
    split = read(tmp_path, content, "rows.jsonl")
    assert [example.texts for example in split.examples] == rows
    assert split.bad_rows == []


def test_columns_stand_in_any_order_and_blanks_around_their_names_do_not_matter(
    tmp_path: Path,
) -> None:
    rows = [(mood, "x", reply, f"n{at}", line) for at, (line, reply, mood) in enumerate(ROWS)]
    header = ("mood", "other", " reply", "id", "line ")
    split = read(tmp_path, b"\xef\xbb\xbf" + delimited(rows, ";", header))
    assert [example.texts for example in split.examples] == EXPECTED
    assert [example.id for example in split.examples] == ["n0", "n1", "n2"]


def test_rows_without_ids_are_numbered_as_they_stand_bad_ones_included(tmp_path: Path) -> None:
    content = b"line,reply,mood\na,b,glad\nc,,glad\n\ne,f,sorry\ng,h,glad\n"
    split = read(tmp_path, content, split="dev")
    assert [example.id for example in split.examples] == ["1", "2", "3", "4"]
    assert [example.label for example in split.examples] == [0.0, None, None, 0.0]
    assert [row.line for row in split.bad_rows] == [3, 5]
    assert "'sorry' is not one of 'glad', 'sad, really'" in split.bad_rows[1].what
    assert list(ids_in(TASK, tmp_path / "rows.csv")) == ["1", "2", "3", "4"]


def test_a_column_of_ids_that_is_named_must_be_there(tmp_path: Path) -> None:
    task = replace(MOOD, id="key").task()
    content = b"key,line,reply,mood\nk7,a,b,glad\n"
    assert [e.id for e in read(tmp_path, content, task=task).examples] == ["k7"]
    with pytest.raises(InputError, match="no column key among line, reply, mood"):
        read(tmp_path, b"line,reply,mood\na,b,glad\n", task=task)
    lines = json_lines([{"line": "a", "reply": "b", "mood": "glad"}])
    split = read(
        tmp_path,
        lines + json_lines([{"key": 5, "line": "a", "reply": "b", "mood": "glad"}]),
        task=task,
    )
    assert [e.id for e in split.examples] == ["5"]
    assert "no id" in split.bad_rows[0].what


# what is wrong, the line, a word of the report
BAD_LINES = {
    "not JSON": (b'{"line": "a", "reply": ', "not JSON"),
    "a list": (b'["a", "b", "glad"]', "no JSON object"),
    "a number": (b"17", "no JSON object"),
    "deep": (b'{"line":' * 100_000, "not JSON"),
    "long number": (b'{"line": "a", "reply": "b", "mood": ' + b"9" * 5000 + b"}", "not JSON"),
    "invalid UTF-8": (b'{"line": "caf\xe9", "reply": "b", "mood": "glad"}', "UTF-8"),
    "half a character": (b'{"line": "\\ud83d", "reply": "b", "mood": "glad"}', "half a character"),
    "no reply": (b'{"line": "a", "mood": "glad"}', "empty reply"),
    "null": (b'{"line": null, "reply": "b", "mood": "glad"}', "empty line"),
    "a text that is a list": (b'{"line": ["a"], "reply": "b", "mood": "glad"}', "neither text"),
    "no label": (b'{"line": "a", "reply": "b"}', "no label"),
    "another label": (b'{"line": "a", "reply": "b", "mood": NaN}', "NaN"),
}
GOOD = {"line": "a", "reply": "b", "mood": "glad"}


@pytest.mark.parametrize("kind", BAD_LINES)
@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_bad_line_is_reported_and_harms_no_other(tmp_path: Path, kind: str, split: str) -> None:
    line, words = BAD_LINES[kind]
    content = json_lines([GOOD]) + line + b"\n" + json_lines([GOOD])
    found = read(tmp_path, content, "rows.jsonl", split=split)
    expected = ["1", "3"] if split == "train" else ["1", "2", "3"]  # every dev id is due
    assert [example.id for example in found.examples] == expected
    (bad,) = found.bad_rows
    assert (bad.line, found.rows) == (2, 3)
    assert words in bad.what


def test_a_label_in_json_may_be_a_number_or_a_truth_value(tmp_path: Path) -> None:
    yes = Definition("yes", "binary", ("line",), "is_so", FILES).task()
    values = [True, False, 1, 0, 1.0, "1", "true"]
    rows = [{"line": "a", "is_so": value} for value in values]
    split = read(tmp_path, json_lines(rows), task=yes)
    assert [example.label for example in split.examples] == [1, 0, 1, 0, 1, 1, 1]
    score = Definition("score", "regression", ("line",), "s", FILES, range=(-1.0, 1.0)).task()
    split = read(tmp_path, json_lines([{"line": "a", "s": s} for s in (-1, 0.25)]), task=score)
    assert [example.label for example in split.examples] == [-1, 0.25]


def test_a_test_file_needs_no_labels_and_shows_whether_it_has_them(tmp_path: Path) -> None:
    for content, has in (
        (b"line;reply\na;b\n", False),
        (b"line;reply;mood\na;b;glad\n", True),
        (json_lines([{"line": "a", "reply": "b"}]), False),
        (json_lines([GOOD]), True),
    ):
        split = read(tmp_path, content, split="test")
        assert [(example.texts, example.label) for example in split.examples] == [
            (("a", "b"), None)
        ]
        assert ("mood" in columns_of(TASK, tmp_path / "rows.csv")) == has


def test_quotes_mean_nothing_where_the_task_says_so(tmp_path: Path) -> None:
    task = replace(MOOD, quotes=False).task()
    split = read(tmp_path, b'line\treply\tmood\n"a\tb"c"\tglad\n', task=task)
    assert [example.texts for example in split.examples] == [('"a', 'b"c"')]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty; expected columns line, reply, mood"),
        (b"line,answer,mood\na,b,glad\n", "no column reply among line, answer, mood"),
        (b"text\na\n", "no column line, reply, mood among text"),
        (b"line:reply:mood\n", "no column line, reply, mood among line:reply:mood"),
        (b'{"line": 1, "mood": 2}\n', "no key reply among line, mood"),
        (b"{line}\n", "not JSON"),
        (b'line,"reply,mood\n', "quoting"),
        (b"line,reply,mood\na,b,c\n", "no usable row with a label among 1"),
    ],
)
def test_a_file_that_is_of_no_use_is_refused_in_one_line(
    tmp_path: Path, content: bytes, words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(str(tmp_path / "rows.csv")) and "\n" not in str(
        caught.value
    )


def test_a_json_list_is_refused_with_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a JSON object in each line"):
        read(tmp_path, json.dumps([GOOD], indent=1).encode(), "rows.json")


def test_a_later_lines_id_counts_and_a_line_without_one_has_its_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "good"}\n{"text": "bad", "id": "x7"}\n{"text": "fine", "id": null}\n')
    task = replace(TASK, text_columns=("text",), numbered=True)
    assert [example.id for example in read_split(task, "test", path).examples] == ["1", "x7", "3"]

"""Prediction files: every form of the course reads the same, every kind of defect is named."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minbert.grade import gold as gold_module
from minbert.grade import sheet as sheet_module
from minbert.grade.gold import Gold, Part, read_gold
from minbert.grade.members import Member
from minbert.grade.problems import LISTED, Problem
from minbert.grade.sheet import FileReport, read_sheet
from minbert.tasks.predictions import render
from minbert.tasks.registry import TASKS
from tests.grade.submissions import (
    FORMS,
    STARTER,
    Form,
    gold_of,
    guesses,
    ids_of,
    member,
    spelled,
)

ROWS = 16


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Gold:
    return gold_of(tmp_path_factory.mktemp("gold"), ROWS)


def reading(gold: Gold, content: bytes, name: str = "out.csv", *, expected: bool = False) -> Any:
    return read_sheet(member(name, content), gold, expected=expected)


def kinds(found: FileReport) -> list[tuple[str, int | None]]:
    return [(problem.kind, problem.line) for problem in found.problems]


def only(found: FileReport) -> Problem:
    (problem,) = found.problems
    return problem


# ------------------------------------------------------------------------------------------- forms


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("task", ["sst", "para", "sts"])
@pytest.mark.parametrize("split", ["dev", "test"])
def test_every_form_reads_as_what_was_written(
    gold: Gold, task: str, split: str, form: Form
) -> None:
    part = Part(task, split)
    values = guesses(gold)[task]
    found = reading(gold, spelled(task, ids_of(gold, part), values, form))
    assert found.problems == []
    assert found.sheet.part == part
    np.testing.assert_array_equal(found.sheet.values, values)


@pytest.mark.parametrize("task", ["sst", "para", "sts"])
def test_the_main_jobs_own_files_read_back(gold: Gold, task: str) -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(2, 3, (ROWS, TASKS[task].num_outputs)).astype(np.float32)
    predictions = TASKS[task].decode(logits)
    found = reading(
        gold, render(TASKS[task], ids_of(gold, Part(task, "dev")), predictions).encode()
    )
    assert found.problems == []
    np.testing.assert_allclose(found.sheet.values, predictions, rtol=1e-7)


def test_any_spelling_of_a_number_is_read_exactly(gold: Gold) -> None:
    ids = ids_of(gold, Part("sts", "dev"))
    texts = ["0", "5", "+1", "2.", ".5", "1e0", "3E-1", "0.1", "4.999999999999999", *["1.25"] * 7]
    rows = "".join(f"{name},{text}\n" for name, text in zip(ids, texts, strict=True))
    found = reading(gold, f"id,Predicted_Similarity\n{rows}".encode())
    assert found.problems == []
    assert found.sheet.values.tolist() == [float(text) for text in texts]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_blocks_of_any_size_read_the_same(
    gold: Gold, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    values = guesses(gold)["sts"]
    content = spelled("sts", ids_of(gold, Part("sts", "dev")), values)

    class Dripping(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            first = self.tell() == 0  # the first block decides what the file is
            return super().read(200 if first else size)

    found = read_sheet(Member("x.csv", lambda: Dripping(content)), gold, expected=False)
    assert found is not None and found.sheet is not None
    assert found.problems == []
    np.testing.assert_array_equal(found.sheet.values, values)


def test_an_id_may_have_commas_blanks_and_letters(tmp_path: Path) -> None:
    names = ["a,b", "c d", "é", "x\\y"]
    (tmp_path / "sts-dev.csv").write_text(
        "\tid\tsentence1\tsentence2\tsimilarity\n"
        + "".join(f"0\t{name}\ts\tt\t{i}\n" for i, name in enumerate(names)),
        encoding="utf-8",
    )
    gold = read_gold(tmp_path, "dev", lint=False)
    for form in (STARTER, FORMS["tabs"], FORMS["handout"]):
        found = reading(gold, spelled("sts", names, [0, 1, 2, 4.5], form))
        assert found.problems == [], form
        assert found.sheet.values.tolist() == [0, 1, 2, 4.5]


# ----------------------------------------------------------------------------------------- defects


def changed(gold: Gold, change: Callable[[list[str]], object], task: str = "sst") -> Any:
    """A valid file's lines after a change; row i is line i + 2."""
    values = [1, 2, 3, 0] * 4 if task == "sst" else [0, 1] * 8 if task == "para" else [1.5, 2] * 8
    ids = ids_of(gold, Part(task, "dev"))
    lines = spelled(task, ids, values).decode().split("\n")
    change(lines)
    return reading(gold, "\n".join(lines).encode(), f"{task}-dev-output.csv")


@pytest.mark.parametrize("value", ["7", "-1", "2.5", "nan", "inf", "1_0", "", "3,0", "three", "٣"])
def test_a_prediction_that_is_no_class(gold: Gold, value: str) -> None:
    def change(lines: list[str]) -> None:
        lines[3] = lines[3].split(",")[0].strip() + f"\t{value}"

    found = changed(gold, change)
    assert kinds(found) == [("value", 4)]
    assert np.isnan(found.sheet.values[2]) and np.isnan(found.sheet.values).sum() == 1
    assert "counts as none" in only(found).what


@pytest.mark.parametrize(("value", "kept"), [("5.01", 5.01), ("-0.2", -0.2), ("1e9", 1e9)])
def test_a_similarity_out_of_range_is_named_and_kept(gold: Gold, value: str, kept: float) -> None:
    """The starter writes raw floats, and Pearson takes any."""
    found = changed(
        gold, lambda lines: lines.__setitem__(3, f"{lines[3].split()[0]},{value}"), "sts"
    )
    assert kinds(found) == [("value", 4)]
    assert found.sheet.values[2] == kept


@pytest.mark.parametrize(
    "value", ["nan", "NaN", "inf", "-inf", "1e999", "1e308", "-1e100", "x", "0_1"]
)
def test_a_similarity_that_is_no_number_counts_as_none(gold: Gold, value: str) -> None:
    found = changed(
        gold, lambda lines: lines.__setitem__(3, f"{lines[3].split()[0]},{value}"), "sts"
    )
    assert kinds(found) == [("value", 4)]
    assert np.isnan(found.sheet.values[2])


def test_a_missing_id_is_named(gold: Gold) -> None:
    found = changed(gold, lambda lines: lines.pop(5))
    assert kinds(found) == [("missing", None)]
    assert "1 id of 16 missing: 'sstd004'" in only(found).what


def test_an_id_twice_names_both_lines_and_the_first_counts(gold: Gold) -> None:
    found = changed(gold, lambda lines: lines.insert(7, lines[2].replace(", 2", ", 4")))
    assert kinds(found) == [("duplicate", 8)]
    assert "line 3" in only(found).what
    assert found.sheet.values[1] == 2


def test_strays_say_where_they_belong(gold: Gold) -> None:
    found = changed(gold, lambda lines: lines.insert(4, "sstt003 , 1"))
    assert kinds(found) == [("split", 5)] and "is of sst test, not sst dev" in only(found).what
    found = changed(gold, lambda lines: lines.insert(4, "parad003 , 1"))
    assert kinds(found) == [("split", 5)] and "is of para dev" in only(found).what
    found = changed(gold, lambda lines: lines.insert(4, "whatever , 1"))
    assert kinds(found) == [("unknown", 5)]
    found = changed(gold, lambda lines: lines.insert(4, "no mark"))
    assert kinds(found) == [("columns", 5)]


def test_train_ids_are_named_as_such(tmp_path: Path) -> None:
    gold_of(tmp_path)
    (tmp_path / "ids-sst-test-student.csv").unlink()  # its ids are those of the train file here
    gold = read_gold(tmp_path, "dev", lint=False)
    found = changed(gold, lambda lines: lines.insert(4, "sstt003 , 1"))
    assert kinds(found) == [("split", 5)] and "is of sst train, not sst dev" in only(found).what
    found = reading(gold, b"id,Predicted_Sentiment\nsstt003,1\nsstt004,2\n")
    assert found.sheet is None and "its ids are sst train's" in only(found).what
    (tmp_path / "ids-sst-train.csv").write_text("no header\nsstt003\n")
    gold_module._train_ids.cache_clear()
    found = changed(gold, lambda lines: lines.insert(4, "sstt003 , 1"))
    assert kinds(found) == [("unknown", 5)]


def test_a_constant_column(gold: Gold) -> None:
    def change(lines: list[str]) -> None:
        lines[1:-1] = [line.split(",")[0] + ", 2" for line in lines[1:-1]]

    found = changed(gold, change)
    assert kinds(found) == [("constant", None)] and "2" in only(found).what


def test_a_header_that_is_missing_or_wrong(gold: Gold) -> None:
    assert kinds(changed(gold, lambda lines: lines.pop(0))) == [("header", 1)]
    assert kinds(changed(gold, lambda lines: lines.__setitem__(0, "id,label"))) == [("header", 1)]
    wrong = changed(gold, lambda lines: lines.__setitem__(0, "id,Predicted_Is_Paraphrase"))
    assert kinds(wrong) == [("header", 1)]
    assert wrong.sheet.part == Part("sst", "dev")


def test_the_wrong_name_is_told_from_the_ids(gold: Gold) -> None:
    content = spelled("sst", ids_of(gold, Part("sst", "test")), [0, 1] * 8)
    found = reading(gold, content, "predictions/sst-dev-output.csv")
    assert kinds(found) == [("name", None)]
    assert found.sheet.part == Part("sst", "test")


def test_a_flood_is_cut_and_counted(gold: Gold) -> None:
    found = changed(gold, lambda lines: lines.extend(f"x{i},1" for i in range(500)))
    assert len(found.problems) == LISTED + 1
    assert f"{500 - LISTED} more" in found.problems[-1].what


def test_rows_without_a_label_may_be_left_out(tmp_path: Path) -> None:
    """The course's starter leaves out two Quora rows."""
    (tmp_path / "quora-dev.csv").write_text(
        "\tid\tsentence1\tsentence2\tis_duplicate\n0\ta\ts\tt\t1.0\n1\tb\ts\tt\t\n2\tc\ts\tt\t0.0\n"
    )
    gold = read_gold(tmp_path, "dev", lint=False)
    for ids in (["a", "c"], ["a", "b", "c"]):
        assert reading(gold, spelled("para", ids, [1, 0, 0][: len(ids)])).problems == []


# ---------------------------------------------------------------------------- what is no such file


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"\x89PNG\r\n\x1a\n\0\0",
        b"import os\n",
        b"id,label\nsstd001,1\n",
        b"\tid\tsentence\tsentiment\n0\tsstd001\ta\t1\n",
        b"a line of text\n" * 9,
        b"\xff\xfei\0d\0",
    ],
)
def test_other_files_are_nobodys_business_unless_their_name_says_so(
    gold: Gold, content: bytes
) -> None:
    assert reading(gold, content, "notes.txt") is None
    found = reading(gold, content, "sst-dev-output.csv")
    assert found.problems != []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\0\1\2", "binary"),
        ("id,Predicted_Sentiment\n".encode("utf-16"), "UTF-16"),
        (b"id,Predicted_Sentiment\rsstd001,1\r", "CR alone"),
        (b"id,Predicted_Sentiment\nzzz,1\nyyy,2\n", "none of its ids"),
        (b"id,Predicted_Sentiment\nsstd001," + b"1" * 100_000, "longer than 64 kB"),
        (b"id,Predicted_Sentiment\nsstd001,1\n" + b"\n" * 70_000 + b"\0", "binary data after line"),
        (b"id,Predicted_Sentiment\nsstd001,1\n" + b" " * 2**24, "more than 16 MB|longer than"),
    ],
)
def test_a_useless_file_is_one_line(gold: Gold, content: bytes, words: str) -> None:
    found = reading(gold, content, "sst-dev-output.csv")
    assert found.sheet is None
    assert re.search(words, only(found).what)


def test_endless_lines_and_rows_end(gold: Gold, monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"id,Predicted_Sentiment\nsstd001,1\n"
    monkeypatch.setattr(sheet_module, "LINES", 1000)
    assert "1,000 lines" in only(reading(gold, head + b"\n" * 70_000)).what
    monkeypatch.setattr(sheet_module, "BAD_ROWS", 50)
    assert "over 50 bad rows" in only(reading(gold, head + b"x,1\n" * 900)).what


def test_a_part_that_the_gold_lacks_is_no_defect(gold: Gold) -> None:
    content = b"id,Predicted_Sentiment\nsomebody,1\nelse,0\n"
    for name in ("pretrain-cfimdb-dev-out.csv", "cfimdb-test-output.csv"):
        found = reading(gold, content, name)
        assert found.sheet is None and found.problems == []

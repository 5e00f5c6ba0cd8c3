"""The command: what it prints and writes, and how it refuses."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minbert.predict import __main__ as command
from minbert.predict import load
from minbert.tasks.registry import TASKS
from tests.helpers import ROOT, MakeRun
from tests.predict.test_predictor import predicted


@pytest.fixture
def run(make_run: MakeRun) -> Path:
    """A run on the course's three tasks."""
    return make_run()


def ask(capsys: pytest.CaptureFixture[str], *argv: object) -> list[dict[str, Any]]:
    """The JSON lines that the command prints."""
    assert command.main([str(word) for word in argv]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def complaint(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """The one line of a wrong use, after nothing on stdout."""
    assert command.main([str(word) for word in argv]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("error: ") == 1
    return printed.err.splitlines()[-1]


def asked(rows: list[dict[str, Any]]) -> list[tuple[str, str, list[str]]]:
    return [(row["id"], row["task"], row["texts"]) for row in rows]


def test_how_many_texts_there_are_decides_which_tasks_answer(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, three = (ask(capsys, run, *"abc"[:count]) for count in (1, 2, 3))
    assert asked(one) == [("1", "sst", ["a"])]
    assert asked(two) == [("1", "para", ["a", "b"]), ("1", "sts", ["a", "b"])]
    assert asked(three) == [(str(n), "sst", [text]) for n, text in enumerate("abc", start=1)]


def test_named_tasks_answer_each_in_its_way(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ask(capsys, "--task", "sts,sst", run, "a dog", "a man")
    assert asked(rows) == [
        ("1", "sst", ["a dog"]),
        ("2", "sst", ["a man"]),
        ("1", "sts", ["a dog", "a man"]),
    ]
    assert rows[2]["score"] == load(run)("sts", ("a dog", "a man"))[0].score
    assert rows[0]["label"] == TASKS["sst"].classes[rows[0]["prediction"]]


def test_runs_with_other_tasks(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    alone, pairs = make_run(tasks=("cfimdb",)), make_run(tasks=("para", "sts"))
    capsys.readouterr()
    assert asked(ask(capsys, alone, "a", "b")) == [("1", "cfimdb", ["a"]), ("2", "cfimdb", ["b"])]
    assert len(ask(capsys, pairs, *"abcd")) == 4
    assert command.main([str(pairs), "--task", "sst", "a"]) == 0
    assert "sst: was scored but not trained in this run" in capsys.readouterr().err


def test_texts_may_look_like_anything(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("@someone", "-5 stars", "", "x" * 100_000, "ﷺ 😀"):
        assert asked(ask(capsys, run, text)) == [("1", "sst", [text])]
    assert asked(ask(capsys, run, "\x85\ud800")) == [("1", "sst", ["\x85?"])]
    assert asked(ask(capsys, run, "--", "--task")) == [("1", "sst", ["--task"])]


def test_a_terminal_gets_a_table_that_fits(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    assert command.main([str(run), "the film was dull"]) == 0
    single = capsys.readouterr().out.splitlines()
    assert single[0].startswith("sst") and single[0].endswith("the film was dull")
    assert len(single) == 1 + len(TASKS["sst"].classes)
    shares = [float(line.split("0.")[1][:2]) for line in single[1:]]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=3)
    assert command.main([str(run), *["a long story " * 30] * 12]) == 0
    many = capsys.readouterr().out.splitlines()
    assert len(many) == 12 and all(len(line) <= 80 for line in many)
    assert command.main([str(run), "a\tdog\x1b[2J", "a man"]) == 0
    assert "a dog\\x1b[2J | a man" in capsys.readouterr().out


WRONG: list[tuple[str, str]] = [
    ("", "no run is named: train one with: python multitask_classifier.py"),
    ("nowhere a", "nowhere: no such run; train one with: python multitask_classifier.py"),
    ("RUN", 'no text: add one, as in "a sentence", or --file FILE'),
    ("RUN --task cfimdb a", "no task cfimdb in this run; it has: sst, para, sts"),
    ("RUN --task sts a", "sts: takes two texts, or pairs of them, and got 1"),
    ("RUN --task sts a b c", "sts: takes two texts, or pairs of them, and got 3"),
    ("RUN a --columns x", "--columns would do nothing here: it needs --file"),
    ("RUN a --file rows.csv", "--file rows.csv: texts stand beside it"),
    ("RUN --file absent.csv", "absent.csv: cannot be read (No such file or directory)"),
    ("RUN --file rows.csv --columns a,b,c", "--columns a,b,c: name one column or two"),
    ("RUN --file rows.csv --columns a,b --task sst", "sst takes another number of texts"),
    ("RUN a --tsak sst", "unrecognized arguments: --tsak"),
    ("RUN a --device tpu", "invalid choice: 'tpu'"),
    ("RUN a --out folder", "--out folder: holds something else than answers"),
    ("RUN a --out thesis.txt", "--out thesis.txt: holds something else than answers"),
    ("RUN a --out rows.jsonl", "--out rows.jsonl: holds something else than answers"),
    ("nowhere a --out new/answers.jsonl", "nowhere: no such run"),
    ("RUN a --out rows.csv/x", "--out rows.csv/x: cannot be written"),
    ("RUN --file rows.csv --out rows.csv", "--out rows.csv: the rows are read from this file"),
    ("RUN a --out RUN/answers.jsonl", "lies in the run's own folder"),
]


@pytest.mark.parametrize(("line", "words"), WRONG)
def test_wrong_use_is_one_line(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("thesis.txt", "rows.csv"):
        (tmp_path / name).write_text("years of work\n")
    (tmp_path / "rows.jsonl").write_text('{"id": "1", "text": "years of work"}\n')
    before = sorted(tmp_path.iterdir())
    assert words in complaint(capsys, *line.replace("RUN", str(run)).split())
    assert (tmp_path / "thesis.txt").read_text() == "years of work\n"
    assert sorted(tmp_path.iterdir()) == before


def test_without_a_run_the_latest_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)
    assert 'try python -m minbert.predict runs/mine "a sentence"' in complaint(capsys)


def test_a_file_gets_the_answers_that_the_runs_own_files_have(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for stem, names in (("ids-sst", ("sst",)), ("sts", ("para", "sts"))):
        path = run.parent / "data" / f"{stem}-test-student.csv"
        rows = ask(capsys, run, "--file", path)
        assert [row["task"] for row in rows[: len(names)]] == list(names)
        own = names[-1]  # the other's predictions are about other texts
        theirs = predicted(run.parent / "predictions" / f"{own}-test-output.csv")
        found = {r["id"]: r.get("prediction", r.get("score")) for r in rows if r["task"] == own}
        assert list(found) == list(theirs)
        assert found == pytest.approx(theirs, abs=1e-5)


TEXTS = ["a dog, big", 'the "film"', "two\nlines", "über; tab\there"]


def as_csv(delimiter: str, header: list[str], rows: list[list[str]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter).writerows([header, *rows])
    return stream.getvalue().encode()


def as_jsonl(header: list[str], rows: list[list[str]]) -> bytes:
    objects = [dict(zip(header, row, strict=True)) for row in rows]
    return "".join(json.dumps(o) + "\n" for o in objects).encode()


FILES: dict[str, Callable[[list[str], list[list[str]]], bytes]] = {
    "rows.csv": lambda header, rows: as_csv(",", header, rows),
    "semicolons.csv": lambda header, rows: as_csv(";", header, rows),
    "rows.tsv": lambda header, rows: as_csv("\t", header, rows),
    "rows.jsonl": as_jsonl,
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("stdin", [False, True], ids=["file", "stdin"])
def test_rows_come_from_files_of_each_kind_and_from_stdin(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    stdin: bool,
) -> None:
    content = FILES[name](["other", "sentence"], [[str(n), text] for n, text in enumerate(TEXTS)])
    path = tmp_path / name
    path.write_bytes(content)
    if stdin:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    rows = ask(capsys, run, "--task", "sst", "--file", "-" if stdin else path)
    assert asked(rows) == [(str(n), "sst", [text]) for n, text in enumerate(TEXTS, start=1)]


def test_columns_may_have_other_names(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("id,review,reply\nx,good film,thanks\ny,dull,sorry\n")
    one = ask(capsys, run, "--file", path, "--columns", "review")
    two = ask(capsys, run, "--file", path, "--columns", "review,reply", "--task", "sts")
    assert asked(one) == [("x", "sst", ["good film"]), ("y", "sst", ["dull"])]
    assert asked(two)[1] == ("y", "sts", ["dull", "sorry"])
    expected = "expected sentence for sst; sentence1 and sentence2 for para, sts"
    for tasks in ([], ["--task", "sts,sst,para"]):
        said = complaint(capsys, run, "--file", path, *tasks)
        assert "its columns are id, review, reply; expected sentence" in said
        assert tasks or expected in said


@pytest.mark.parametrize("content", ["[1, 2]\n", "\xff\xfe", "", "a\rb\rc\r"])
def test_columns_are_suggested_only_where_the_file_has_some(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content, encoding="latin-1")
    assert "--columns" not in complaint(capsys, run, "--file", path)


def test_bad_rows_are_named_and_the_rest_is_answered(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"sentence": "good"}\n' + '{"sentence": ""}\nnonsense\n' * 4)
    assert command.main([str(run), "--task", "sst", "--file", str(path)]) == 0
    printed = capsys.readouterr()
    good, *rows = [json.loads(line) for line in printed.out.splitlines()]
    assert good["texts"] == ["good"] and "error" not in good
    for number, row in enumerate(rows, start=2):
        assert f"{path}:{number}: " in printed.err
        what = "not JSON" if number % 2 else "empty sentence"
        assert row["id"] == str(number) and row["error"].startswith(f"line {number}: {what}")
        assert (row["label"] is None) == (number % 2 == 1)  # an empty text is one, as in training


UNREAD = [b'{"sentence":', b"[1]", b'{"sentence": "\xff"}', b"7", b'{"sentence":' + b"[" * 10**5]


@pytest.mark.parametrize("line", UNREAD)
def test_a_row_that_cannot_be_read_has_an_answer_that_nobody_takes_for_one(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    line: bytes,
) -> None:
    path, table = tmp_path / "rows.jsonl", tmp_path / "answers.csv"
    path.write_bytes(b'{"sentence": "good", "sentence1": "a", "sentence2": "b"}\n' + line + b"\n")
    rows = [row for row in ask(capsys, run, "--file", path) if row["id"] == "2"]
    assert [row.pop("task") for row in rows] == ["sst", "para", "sts"]
    for row in rows:
        assert row.pop("id") == "2" and row.pop("error").startswith("line 2: ")
        assert set(row.values()) == {None} and {"prediction", "score"} & row.keys()
    assert command.main([str(run), "--file", str(path), "--out", str(table)]) == 0
    cells = [row for row in csv.DictReader(io.StringIO(table.read_text())) if row["id"] == "2"]
    assert all(row["prediction"] == row["label"] == "" and row["error"] for row in cells)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert command.main([str(run), "--task", "sst", "--file", str(path)]) == 0
    assert "2  sst  –" in capsys.readouterr().out.splitlines()[-1]


def test_every_row_has_an_answer_whatever_its_id(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"id,sentence\nx,a\nx,b\n,c\nid,sentence\n\x01,d\n\xff,e\ny\n")
    rows = ask(capsys, run, "--task", "sst", "--file", path)
    assert [(row["id"], row["texts"]) for row in rows] == [
        ("x", ["a"]),
        ("x", ["b"]),
        ("3", ["c"]),
        ("5", ["d"]),
        ("6", ["e"]),
        ("y", [""]),
    ]
    assert ["error" in row for row in rows] == [False, False, True, True, True, True]
    assert all(row["label"] for row in rows)


def test_a_pipe_is_read_once_and_named_as_it_was_typed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = b"sentence,sentence1,sentence2\ngood,a,b\n"
    for source in (str(pipe), "-"):
        if source == "-":
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        else:
            threading.Thread(target=pipe.write_bytes, args=(content,)).start()
        assert [row["task"] for row in ask(capsys, run, "--file", source)] == ["sst", "para", "sts"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert complaint(capsys, run, "--file", "-").startswith("error: stdin: empty;")
    assert complaint(capsys, run, "--file", "/dev/zero").startswith("error: /dev/zero:1: a line of")


def test_answers_go_to_a_file_as_json_lines_or_csv(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = ask(capsys, run, "a dog", "a man")
    lines, table = tmp_path / "new" / "answers.jsonl", tmp_path / "answers.csv"
    for _ in range(2):  # the second time over answers of the first
        assert ask(capsys, run, "a dog", "a man", "--out", lines) == []
        assert ask(capsys, run, "a dog", "a man", "--out", table) == []
    assert [json.loads(line) for line in lines.read_text().splitlines()] == printed
    para, sts = csv.DictReader(io.StringIO(table.read_text()))
    assert (para["label"], para["text"]) == (printed[0]["label"], "a dog")
    assert (float(sts["prediction"]), sts["second text"]) == (printed[1]["score"], "a man")


def test_no_socket_is_opened(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    assert len(ask(capsys, run, "a dog")) == 1


def test_loading_imports_no_compiler_and_no_statistics(run: Path) -> None:
    """They take seconds, and a user waits for an answer."""
    code = (
        "import sys; from minbert.predict.__main__ import main; code = main(sys.argv[1:]); "
        "slow = {'sympy', 'scipy', 'matplotlib', 'torch._dynamo'} & sys.modules.keys(); "
        "sys.exit(f'{code} {slow}' if code or slow else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run), "a dog"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

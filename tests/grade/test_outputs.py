"""What the grading command writes: a table, a CSV, a page that fetches and runs nothing."""

from __future__ import annotations

import csv
import html.parser
import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from minbert.grade import __main__ as grade
from minbert.grade.gold import Gold
from tests.grade.submissions import class_of, gold_of, graded, guesses, hand_in


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Gold:
    return gold_of(tmp_path_factory.mktemp("gold"), 60)


@pytest.fixture
def class_(tmp_path: Path, gold: Gold) -> Path:
    return class_of(tmp_path / "class", gold)


class Page(html.parser.HTMLParser):
    """What a page asks for from elsewhere, and whether its tags close."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [str(value) for name, value in attrs if name == "src" or (
            name == "href" and not str(value).startswith("#"))]  # fmt: skip
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass  # opens and closes

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_nothing(class_: Path, gold: Gold, tmp_path: Path) -> None:
    shutil.copytree(class_ / "anna", class_ / "twin")
    out = tmp_path / "out.html"
    argv = [str(class_), "--gold", str(gold.folder), "--html", str(out), "--ceiling", "sst=.1"]
    assert grade.main(argv) == 0
    text = out.read_text()
    page = Page()
    page.feed(text)
    assert page.open == [] and page.fetched == []
    assert "<script" not in text and "url(" not in text and "@import" not in text
    for words in ("anna", "emil", "Near-identical", "To be asked", "prefers-color-scheme: dark"):
        assert words in text
    assert "2024 is (SST accuracy + Quora accuracy + (STS r + 1) / 2) / 3, overall 2023" in text
    alone = [str(class_ / "ben"), "--gold", str(gold.folder), "--html", str(out)]
    assert grade.main(alone) == 0
    assert "Agreement" not in out.read_text()


def test_the_csv_has_a_line_a_submission(class_: Path, gold: Gold, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    _, found = graded(gold, class_, "--csv", out)
    rows = {row["name"]: row for row in csv.DictReader(out.read_text().splitlines())}
    assert rows.keys() == found.keys()
    scores = ["sst_accuracy", "sst_macro_f1", "para_accuracy", "para_f1"]
    scores += ["sts_pearson", "sts_spearman"]
    assert [column for column in rows["anna"] if column in scores] == scores
    for name, row in rows.items():
        assert float(row["overall_2024"]) == pytest.approx(found[name]["overall"]["2024"])
        assert float(row["sts_spearman"]) == pytest.approx(found[name]["scores"]["sts"]["spearman"])
        assert int(row["rank"]) == found[name]["ranks"]["overall"]


def test_the_leaderboard_and_one_submission_in_full(
    class_: Path, gold: Gold, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = graded(gold, class_)
    table = capsys.readouterr().out.splitlines()
    order = [line.split()[1] for line in table[1:6]]
    assert order == sorted(found, key=lambda name: -found[name]["overall"]["2024"])
    assert "one constant answer" in table[6]
    graded(gold, class_ / "ben")
    shown = capsys.readouterr().out
    for words in ("macro-F1", "Spearman", "overall 2023", "predicted as", "constant answer"):
        assert words in shown


def test_a_submission_that_lacks_a_task_has_no_overall(
    class_: Path, gold: Gold, capsys: pytest.CaptureFixture[str]
) -> None:
    (class_ / "anna" / "predictions" / "sts-dev-output.csv").unlink()
    code, found = graded(gold, class_)
    assert code == 0 and found["anna"]["overall"]["2024"] is None
    assert "anna: no overall score, for it has no sts" in capsys.readouterr().err
    assert list(found)[-1] == "anna"


def test_a_submission_of_constants_is_named(
    class_: Path, gold: Gold, capsys: pytest.CaptureFixture[str]
) -> None:
    graded(gold, class_)
    assert "degenerate" not in capsys.readouterr().err
    for path in (class_ / "ben" / "predictions").glob("*-dev-output.csv"):
        header, *rows = path.read_text().splitlines()
        path.write_text(
            "\n".join([header, *(f"{row.split(' , ')[0]} , 1 " for row in rows)]) + "\n"
        )
    graded(gold, class_)
    lines = [line for line in capsys.readouterr().err.splitlines() if "degenerate" in line]
    assert [line.split(":")[0] for line in lines] == ["ben"]


# ---------------------------------------------------------------------------------------- hostile


def test_names_cannot_play_tricks(
    tmp_path: Path, gold: Gold, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("=HYPERLINK(1)", "<script>alert(1)</script>"[:8], "esc\x1b[31m", "two\nlines")
    for seed, name in enumerate(names):
        hand_in(tmp_path / "class" / name, gold, guesses(gold, 0.5, seed))
    outputs = {kind: tmp_path / f"out.{kind}" for kind in ("csv", "html")}
    flags = [part for kind, path in outputs.items() for part in (f"--{kind}", str(path))]
    assert grade.main([str(tmp_path / "class"), "--gold", str(gold.folder), *flags]) == 0
    printed = capsys.readouterr()
    assert re.search(r"[\x00-\x09\x0b-\x1f]", printed.out + printed.err) is None
    rows = list(csv.DictReader(outputs["csv"].read_text().splitlines()))
    assert {row["name"] for row in rows} >= {"'=HYPERLINK(1)", r"esc\x1b[31m", r"two\nlines"}
    page = outputs["html"].read_text()
    assert "<script" not in page and "&lt;script" in page


def test_no_cell_of_the_lint_csv_is_a_formula(tmp_path: Path, gold: Gold) -> None:
    hand_in(tmp_path / "=me", gold, guesses(gold))
    with zipfile.ZipFile(tmp_path / "=1+1.zip", "w") as made:
        made.writestr("=cmd|' /C calc'!A0/../../x.csv", b"")
        made.writestr("@x/sst-dev-output.csv", b"")
    out = tmp_path / "out.csv"
    argv = ["--lint", str(tmp_path / "=1+1.zip"), "--gold", str(gold.folder), "--csv", str(out)]
    assert grade.main(argv) == 1
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["what"][:6] for row in rows] == ["'=cmd|", "empty:"]
    cells = [cell for row in rows for cell in row.values()]
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells), cells


def test_values_beyond_all_measure_leave_the_class_its_marks(class_: Path, gold: Gold) -> None:
    """Their squares are infinite, and a NaN would have no JSON spelling."""
    path = class_ / "ben" / "predictions" / "sts-dev-output.csv"
    head, *rows = path.read_text().splitlines(keepends=True)
    big = [f"{row.split(' ,')[0]} , {i % 7 + 1}e307\n" for i, row in enumerate(rows)]
    path.write_text(head + "".join(big))
    code, found = graded(gold, class_, "--html", class_ / "out.html")
    assert code == 1 and found["ben"]["scores"].keys() == {"sst", "para"}
    assert "nan" not in (class_ / "out.html").read_text().lower().replace("nanos", "")


def test_a_gold_folder_with_any_name_makes_a_page(tmp_path: Path, gold: Gold) -> None:
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/g\xff"))
    shutil.copytree(gold.folder, odd)
    me = hand_in(tmp_path / "me", gold, guesses(gold))
    assert grade.main([str(me), "--gold", str(odd), "--html", str(tmp_path / "out.html")]) == 0


def test_a_reader_who_leaves_does_not_take_the_outputs_along(
    class_: Path, gold: Gold, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_text: str) -> None:
        raise OSError("no space left for the table")

    monkeypatch.setattr(grade, "show", gone)
    code, found = graded(gold, class_)
    assert code == 1 and len(found) == 5

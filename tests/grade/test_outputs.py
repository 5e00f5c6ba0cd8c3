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
from minbert.grade.gold import Gold, read_gold
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


def test_all_scores_stand_in_the_table_the_csv_and_the_page(
    class_: Path, gold: Gold, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of tasks beside the course's three, and of single-task files, of whoever has them."""
    folder = shutil.copytree(gold.folder, tmp_path / "gold")
    rows = [f"{i}\tc{i:03d}\ta film\t{i % 2}\n" for i in range(60)]
    (folder / "ids-cfimdb-dev.csv").write_text("\tid\tsentence\tsentiment\n" + "".join(rows))
    gold = read_gold(folder, "dev", lint=False)
    values = {"cfimdb": [1.0, 0.0, 1.0] * 20, "sst": guesses(gold, 0.9, 7)["sst"]}
    hand_in(class_ / "anna", gold, values, name="predictions/finetune-{task}-{split}-out.csv")
    hand_in(
        class_ / "ben", gold, values, name="predictions/last-linear-layer-{task}-{split}-out.csv"
    )
    outputs = {kind: tmp_path / f"out.{kind}" for kind in ("csv", "html")}
    flags = [part for kind, path in outputs.items() for part in (f"--{kind}", path)]
    code, found = graded(gold, class_, *flags)
    assert code == 0
    read = {row["name"]: row for row in csv.DictReader(outputs["csv"].read_text().splitlines())}
    for name, option in (("anna", "finetune"), ("ben", "pretrain")):
        alone = found[name]["single_task"][option]
        assert alone.keys() == {"sst", "cfimdb"}
        for task, score in alone.items():
            assert float(read[name][f"{option}_{task}_accuracy"]) == score["accuracy"]
        assert float(read[name]["cfimdb_accuracy"]) == found[name]["scores"]["cfimdb"]["accuracy"]
        assert read["carl"][f"{option}_sst_accuracy"] == ""
    head, *lines = capsys.readouterr().out.splitlines()
    for title in ("cfimdb accuracy", "finetune sst accuracy", "pretrain cfimdb accuracy"):
        assert head.count(title) == 1 + (title == "cfimdb accuracy") * 2
    (anna,) = [line for line in lines if " anna " in line]
    shown = f"{found['anna']['single_task']['finetune']['sst']['accuracy']:.3f}".lstrip("0")
    assert shown in anna and outputs["html"].read_text().count("finetune, single task") >= 2


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


def test_folder_names_are_text_to_terminals_and_pages(
    tmp_path: Path, gold: Gold, capsys: pytest.CaptureFixture[str]
) -> None:
    """Escape sequences and bytes that are no text are spelled out, in whatever names a file."""
    evil = os.fsencode(tmp_path) + b"/\x1b[31m\xff\xe2\x80\xae<b>"
    odd = Path(os.fsdecode(evil))
    shutil.copytree(gold.folder, odd / "gold")
    hand_in(odd / "me" / os.fsdecode(b"\x1b]0;x\x07\xfe"), gold, guesses(gold))
    broken = odd / "me" / os.fsdecode(b"\x1b[2J\xfd") / "sst-dev-output.csv"
    broken.parent.mkdir()
    broken.write_bytes(b"id,Predicted_Sentiment\nsstd001,\x1b[31m\xff\n\x1b[32m\xff,1\n")
    outputs = [
        flag for kind in ("csv", "html", "json") for flag in (f"--{kind}", f"{odd}/o.{kind}")
    ]
    argv = [str(odd / "me"), "--gold", str(odd / "gold"), *outputs]
    assert grade.main(argv) == 1 and grade.main(["--lint", *argv[:3], *outputs[:2]]) == 1
    assert grade.main([str(odd / "nowhere")]) == 2
    printed = capsys.readouterr()
    assert all(letter.isprintable() or letter == "\n" for letter in printed.out + printed.err)
    written = (odd / "o.html").read_text() + (odd / "o.csv").read_text()
    assert r"\x1b[2J\udcfd" in written and "<b>" not in written
    assert all(letter.isprintable() or letter == "\n" for letter in written)


def test_a_path_that_is_too_long_is_one_line(
    tmp_path: Path, gold: Gold, capsys: pytest.CaptureFixture[str]
) -> None:
    assert grade.main(["/".join(["deep"] * 20_000), "--gold", str(gold.folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "File name too long" in line and len(line) < 300


def test_folders_nested_beyond_all_paths_are_one_line(
    tmp_path: Path, gold: Gold, capsys: pytest.CaptureFixture[str]
) -> None:
    hand_in(tmp_path / "class" / "ben", gold, guesses(gold))
    place = tmp_path / "class" / "anna"
    place.mkdir()
    here = os.open(place, os.O_RDONLY)
    name, depth = "d" * 200, 40  # beyond any system's longest path
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        here = _moved(here, name)
    for path in (tmp_path / "class", place):
        assert grade.main([str(path), "--gold", str(gold.folder)]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "File name too long" in line]
    assert len(lines) == 2 and all(len(line) < 200 for line in lines)
    for _ in range(depth):  # pytest itself could not remove them
        here = _moved(here, "..")
        os.rmdir(name, dir_fd=here)
    os.close(here)


def _moved(here: int, name: str) -> int:
    there = os.open(name, os.O_RDONLY, dir_fd=here)
    os.close(here)
    return there


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

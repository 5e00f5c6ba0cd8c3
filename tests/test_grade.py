"""The grading command: from folders and zips to marks, its lines, its exit codes, its outputs."""

from __future__ import annotations

import csv
import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from minbert import grade
from minbert.grading.gold import Gold, read_gold
from tests.grading.submissions import COURSE, FORMS, gold_of, guesses, hand_in, zipped

ROOT = Path(__file__).resolve().parent.parent
ROWS = 60


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Gold:
    return gold_of(tmp_path_factory.mktemp("gold"), ROWS)


@pytest.fixture
def class_(tmp_path: Path, gold: Gold) -> Path:
    """Five submissions of different skill, two of them zips."""
    folder = tmp_path / "class"
    for seed, name in enumerate(("anna", "ben", "carl", "dora", "emil")):
        hand_in(folder / name / "predictions", gold, guesses(gold, 0.2 * seed, seed))
    for name in ("dora", "emil"):
        zipped(folder / name, folder / f"{name}.zip")
        shutil.rmtree(folder / name)
    return folder


def graded(gold: Gold, *argv: object) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON, by submission."""
    out = gold.folder.parent / "out.json"
    code = grade.main([*map(str, argv), "--gold", str(gold.folder), "--json", str(out)])
    found = json.loads(out.read_text())
    return code, {one["name"]: one for one in found["submissions"]}


# ---------------------------------------------------------------------------------------- scores


def test_scores_are_scikit_learns_and_scipys(class_: Path, gold: Gold) -> None:
    code, found = graded(gold, class_)
    assert code == 0
    assert found.keys() == {"anna", "ben", "carl", "dora", "emil"}
    for seed, name in enumerate(sorted(found)):
        values, labels = guesses(gold, 0.2 * seed, seed), gold.labels
        sst, para, sts = (found[name]["scores"][task] for task in COURSE)
        assert sst["accuracy"] == pytest.approx(
            metrics.accuracy_score(labels["sst"], values["sst"])
        )
        assert sst["macro_f1"] == pytest.approx(
            metrics.f1_score(labels["sst"], values["sst"], average="macro", zero_division=0)
        )
        expected = metrics.confusion_matrix(labels["sst"], values["sst"], labels=range(5))
        assert sst["confusion"] == expected.tolist()
        assert para["accuracy"] == pytest.approx(
            metrics.accuracy_score(labels["para"], values["para"])
        )
        assert para["f1"] == pytest.approx(metrics.f1_score(labels["para"], values["para"]))
        pair = values["sts"], labels["sts"]
        assert sts["pearson"] == pytest.approx(stats.pearsonr(*pair).statistic)
        assert sts["spearman"] == pytest.approx(stats.spearmanr(*pair).statistic)
        three = sst["accuracy"], para["accuracy"], sts["pearson"]
        overall = found[name]["overall"]
        assert overall["2023"] == pytest.approx(np.mean(three))
        assert overall["2024"] == pytest.approx((sum(three[:2]) + (three[2] + 1) / 2) / 3)
        for one in (sst, para, sts):
            low, high = one["interval"]
            assert low <= one.get("accuracy", one.get("pearson")) <= high
        assert found[name]["problems"] == []


def test_every_form_grades_identically(tmp_path: Path, gold: Gold) -> None:
    for number, form in enumerate(FORMS.values()):
        hand_in(tmp_path / f"s{number}", gold, guesses(gold), form)
    names = "{task}-{split}-output.csv", "finetune-{task}-{split}-out.csv", "{task}{split}.txt"
    for number, name in enumerate(names):
        hand_in(tmp_path / f"n{number}", gold, guesses(gold), name=name)
    code, found = graded(gold, tmp_path)
    assert code == 0 and len(found) == len(FORMS) + len(names)
    first = next(iter(found.values()))
    for one in found.values():
        assert (one["scores"], one["overall"]) == (first["scores"], first["overall"])
        assert one["problems"] == [] and one["ranks"]["overall"] == 1


def test_the_main_jobs_predictions_on_the_real_data(course_data: Path, tmp_path: Path) -> None:
    gold = read_gold(course_data, "dev", lint=False)
    folder = hand_in(tmp_path / "me", gold, guesses(gold))
    del_lines = (folder / "para-dev-output.csv").read_text().splitlines(keepends=True)
    unlabelled = ("ad118c967d683c93883bf072d", "9054345d02cd6c5642a4904dc")
    kept = [line for line in del_lines if not line.startswith(unlabelled)]
    assert len(kept) == len(del_lines) - 2  # as the starter writes it
    scores = []
    for lines in (del_lines, kept):
        (folder / "para-dev-output.csv").write_text("".join(lines))
        out = tmp_path / "out.json"
        assert grade.main([str(folder), "--gold", str(course_data), "--json", str(out)]) == 0
        scores.append(json.loads(out.read_text())["submissions"][0]["scores"])
    assert scores[0] == scores[1] and scores[0]["para"]["rows"] == 20_212


def test_single_task_files_have_their_scores_beside(tmp_path: Path, gold: Gold) -> None:
    hand_in(tmp_path / "me", gold, guesses(gold))
    other = {"sst": guesses(gold, 0.9, 5)["sst"]}
    hand_in(tmp_path / "me", gold, other, name="last-linear-layer-{task}-{split}-out.csv")
    code, found = graded(gold, tmp_path / "me")
    accuracy = float(np.mean(other["sst"] == gold.labels["sst"]))
    assert code == 0
    assert found["me"]["single_task"]["pretrain"]["sst"]["accuracy"] == pytest.approx(accuracy)
    assert found["me"]["scores"]["sst"]["accuracy"] < accuracy


def test_test_labels_score_the_test_set(tmp_path: Path) -> None:
    gold = gold_of(tmp_path / "gold", ROWS)
    for task, stem in (("sst", "ids-sst"), ("para", "quora"), ("sts", "sts")):
        text = (tmp_path / "gold" / f"{stem}-dev.csv").read_text()
        test = text.replace(f"{task}d", f"{task}t")
        (tmp_path / "gold" / f"{stem}-test.csv").write_text(test)
    values = guesses(gold)
    hand_in(tmp_path / "me", gold, values, split="test")
    hand_in(tmp_path / "me", gold, guesses(gold, 0.1, 3))
    code, found = graded(gold, tmp_path / "me", "--split", "test")
    accuracy = float(np.mean(values["sst"] == gold.labels["sst"]))
    assert code == 0 and found["me"]["scores"]["sst"]["accuracy"] == pytest.approx(accuracy)


# -------------------------------------------------------------------------------------- problems


def test_a_defect_is_named_and_the_rest_is_graded(
    class_: Path, gold: Gold, capsys: pytest.CaptureFixture[str]
) -> None:
    path = class_ / "ben" / "predictions" / "sst-dev-output.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:4], "sstd003 , 9 \n", *lines[5:], "nobody , 1 \n"]))
    _, before = graded(gold, class_)
    capsys.readouterr()
    code, found = graded(gold, class_)
    assert code == 1
    file = "predictions/sst-dev-output.csv"
    assert [(p["file"], p["line"]) for p in found["ben"]["problems"]] == [(file, 5), (file, 62)]
    assert all(one["problems"] == [] for name, one in found.items() if name != "ben")
    assert found["ben"]["scores"].keys() == set(COURSE)
    err = capsys.readouterr().err
    assert f"ben/{file}:5: prediction '9' is not one of 0..4" in err
    assert err.splitlines()[-1].startswith("error: 1 of 5 submissions with problems")
    assert before == found


EVIL = {
    "bomb": lambda z: z.writestr("sst-dev-output.csv", b"id,Predicted_Sentiment\n" + bytes(10**8)),
    "climber": lambda z: z.writestr("../../sst-dev-output.csv", b"x"),
    "line": lambda z: z.writestr("sst-dev-output.csv", b"id,Predicted_Sentiment\n" + b"1" * 10**7),
    "many": lambda z: [z.writestr(f"{i}.csv", b"") for i in range(10_000)],
    "junk": lambda z: z.writestr("sst-dev-output.csv", bytes(range(256))),
    "pickle": lambda z: z.writestr("sst-dev-output.csv", b"cos\nsystem\n(S'touch pwned'\ntR."),
    "empty": lambda z: None,
}


def test_evil_is_one_line_each(
    tmp_path: Path, gold: Gold, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "class"
    hand_in(folder / "honest", gold, guesses(gold))
    for name, make in EVIL.items():
        with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as made:
            make(made)
    (folder / "nozip.zip").write_bytes(os.urandom(1000))
    (folder / "link").symlink_to("/etc")
    before = set(tmp_path.parent.rglob("*"))
    code, found = graded(gold, folder)
    assert code == 1 and found["honest"]["problems"] == []
    bad = {*EVIL, "nozip", "link"}
    assert {name for name, one in found.items() if one["problems"]} == bad
    err = capsys.readouterr().err.splitlines()
    for name in bad:
        lines = [line for line in err if re.match(rf"{name}[/:]", line)]
        assert len(lines) == 1 or (name == "climber" and len(lines) == 2), lines
        assert all(len(line) < 300 for line in lines)
    assert not any("Traceback" in line for line in err)
    assert set(tmp_path.parent.rglob("*")) - before <= {gold.folder.parent / "out.json"}


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


# ------------------------------------------------------------------------------------------ lint


def test_lint_needs_no_labels(
    tmp_path: Path, gold: Gold, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("ids-sst", "quora", "sts"):
        shutil.copy(gold.folder / f"{name}-test-student.csv", bare)
    hand_in(tmp_path / "me", gold, guesses(gold), split="test")
    argv = ["--lint", str(tmp_path / "me"), "--gold", str(bare), "--json", str(tmp_path / "o")]
    assert grade.main(argv) == 0
    assert capsys.readouterr().out.count(" ok\n") == 3
    path = tmp_path / "me" / "sts-test-output.csv"
    path.write_text(path.read_text().replace("stst002 , ", "stst002 , nan"))
    assert grade.main(argv) == 1
    assert "sts-test-output.csv:4: prediction 'nan" in capsys.readouterr().err
    (problem,) = json.loads((tmp_path / "o").read_text())["submissions"][0]["problems"]
    assert (problem["file"], problem["line"]) == ("sts-test-output.csv", 4)
    assert grade.main([str(tmp_path / "me"), "--gold", str(bare)]) == 2
    assert "with labels" in capsys.readouterr().err


# --------------------------------------------------------------------------------------- outputs


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
    alone = [str(class_ / "ben"), "--gold", str(gold.folder), "--html", str(out)]
    assert grade.main(alone) == 0
    assert "Agreement" not in out.read_text()


def test_the_csv_has_a_line_a_submission(class_: Path, gold: Gold, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    _, found = graded(gold, class_, "--csv", out)
    rows = {row["name"]: row for row in csv.DictReader(out.read_text().splitlines())}
    assert rows.keys() == found.keys()
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


# ----------------------------------------------------------------------------------------- usage

WRONG = [
    ([], "PATH"),
    (["nowhere"], "nowhere: no such file or folder"),
    (["me", "--gold", "nowhere"], "--gold nowhere: no such folder"),
    (["me", "--gold", "me"], "none of ids-sst-dev.csv"),
    (["me", "--gold", "gold", "--split", "test"], "with labels"),
    (["me", "--gold", "gold", "--split", "train"], "--split"),
    (["me", "--gold", "gold", "--ceiling", "2"], "--ceiling 2.0: must be"),
    (["me", "--gold", "gold", "--ceiling", "cola=.5"], "--ceiling cola: no such task"),
    (["me", "--gold", "gold", "--lint", "--html", "x"], "--html would do nothing"),
    (["me", "--gold", "gold", "--lint", "--ceiling", ".5"], "--ceiling would do nothing"),
    (["me", "--gold", "gold", "--json", "x", "--csv", "x"], "two outputs"),
    (["me", "--gold", "gold", "--json", "me"], "is a folder"),
    (["me", "--gold", "gold", "--csv", "me/sst-dev-output.csv"], "somebody's predictions"),
    (["me", "--gold", "gold", "--json", "me.zip"], "somebody's predictions"),
    (["me", "--gold", "gold", "--csv", "gold/sts-dev.csv"], "among the gold files"),
    (["me", "--bogus"], "--bogus"),
]


@pytest.mark.parametrize(("argv", "words"), WRONG, ids=[" ".join(argv) for argv, _ in WRONG])
def test_wrong_usage_is_one_line(
    tmp_path: Path,
    gold: Gold,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(gold.folder, tmp_path / "gold")
    zipped(hand_in(tmp_path / "me", gold, guesses(gold)), tmp_path / "me.zip")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert grade.main(argv) == 2
    printed = capsys.readouterr()
    error = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert printed.out == "" and len(error) == 1 and words in error[0], printed.err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        grade.main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for flag in ("PATH", "--gold", "--split", "--lint", "--ceiling", "--json", "--csv", "--html"):
        assert flag in shown


def test_without_gold_the_sample_is_it_and_has_no_ceiling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    gold = read_gold(None, "dev", lint=False)
    hand_in(tmp_path / "me", gold, guesses(gold, 1.0))
    assert grade.main(["me"]) == 0
    assert "question" not in capsys.readouterr().out
    assert grade.main(["me", "--ceiling", ".9"]) == 0
    assert capsys.readouterr().out.count("question for me") == 3


def test_a_class_is_read_by_several_processes_alike(tmp_path: Path, gold: Gold) -> None:
    for seed in range(33):
        hand_in(tmp_path / "class" / f"s{seed:02d}", gold, guesses(gold, 0.5, seed))
    command = [sys.executable, "-m", "minbert.grade", "class", "--gold", str(gold.folder)]
    there = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--json", "all.json"], cwd=tmp_path, env=there, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.count("\n")) == (0, 35), done.stderr
    found = {
        one["name"]: one for one in json.loads((tmp_path / "all.json").read_text())["submissions"]
    }
    assert len(found) == 33
    _, alone = graded(gold, tmp_path / "class" / "s07")
    assert alone["s07"]["scores"] == found["s07"]["scores"]

"""The grading command: from folders and zips to marks, its lines, its exit codes, its outputs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from minbert.grade import __main__ as grade
from minbert.grade.gold import Gold, read_gold
from tests.grade.submissions import (
    COURSE,
    FORMS,
    class_of,
    gold_of,
    graded,
    guesses,
    hand_in,
    zipped,
)

ROOT = Path(__file__).resolve().parents[2]
ROWS = 60


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Gold:
    return gold_of(tmp_path_factory.mktemp("gold"), ROWS)


@pytest.fixture
def class_(tmp_path: Path, gold: Gold) -> Path:
    return class_of(tmp_path / "class", gold)


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
        assert sst["majority"] == expected.sum(axis=1).max() / ROWS
        assert para["accuracy"] == pytest.approx(
            metrics.accuracy_score(labels["para"], values["para"])
        )
        assert para["f1"] == pytest.approx(metrics.f1_score(labels["para"], values["para"]))
        pair = values["sts"], labels["sts"]
        assert sts["pearson"] == pytest.approx(stats.pearsonr(*pair).statistic)
        assert sts["spearman"] == pytest.approx(stats.spearmanr(*pair).statistic)
        assert found[name]["overall"].keys() == {"2023", "2024"}
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


def test_a_question_is_put_about_a_single_task_file_too(tmp_path: Path, gold: Gold) -> None:
    hand_in(tmp_path / "me", gold, guesses(gold, 0.3))
    hand_in(
        tmp_path / "me", gold, {"sst": gold.labels["sst"]}, name="finetune-{task}-{split}-out.csv"
    )
    _, found = graded(gold, tmp_path / "me", "--ceiling", "sst=.6")
    assert [one["score"] for one in found["me"]["questions"]] == [1.0]


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


def test_one_submission_does_not_flood_the_screen(
    class_: Path, gold: Gold, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(20):
        folder = class_ / "ben" / str(number)
        folder.mkdir()
        (folder / "sst-dev-output.csv").write_text("junk\n")
    _, found = graded(gold, class_)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ben")]
    assert len(found["ben"]["problems"]) == 20 and len(lines) == 13
    assert lines[-1] == "ben: and 8 more (--json has them all)"


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
    shown = capsys.readouterr()
    assert shown.out.count(" ok\n") == 3 and "if they are asked for" not in shown.err
    path = tmp_path / "me" / "sts-test-output.csv"
    path.write_text(path.read_text().replace("stst002 , ", "stst002 , nan"))
    assert grade.main(argv) == 1
    assert "sts-test-output.csv:4: prediction 'nan" in capsys.readouterr().err
    (problem,) = json.loads((tmp_path / "o").read_text())["submissions"][0]["problems"]
    assert (problem["file"], problem["line"]) == ("sts-test-output.csv", 4)
    path.unlink()
    assert grade.main(argv) == 0
    assert "me: no file of sts test, if they are asked for" in capsys.readouterr().err
    assert grade.main([str(tmp_path / "me"), "--gold", str(bare)]) == 2
    assert "with labels" in capsys.readouterr().err


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
    (["me", "--gold", "gold", "--json", "pipe"], "is no regular file"),
    (["me", "--gold", "gold", "--csv", "me.zip/x.csv"], "cannot be written"),
    (["pipe"], "pipe: neither a file nor a folder"),
    (["me", "--gold", "gold", "--csv", "me/sst-dev-output.csv"], "somebody's predictions"),
    (["me", "--gold", "gold", "--json", "me.zip"], "somebody's predictions"),
    (["me", "--gold", "gold", "--json", "mine.txt"], "somebody's predictions"),
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
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "mine.txt").write_text('"";"id";"my notes";"Predicted_Sentiment"\n')
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


@pytest.mark.slow
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

"""The commands `mark` and `autograder`: what they refuse, what they write, the zip as it is run."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from minbert.classroom.__main__ import main
from minbert.classroom.marking import autograder, command
from minbert.classroom.marking.command import as_csv, as_text, submissions_in
from minbert.classroom.marking.config import AutograderConfig, MarkConfig
from minbert.classroom.marking.desk import Marked
from minbert.classroom.marking.gradescope import GOLD, HIDDEN, SETTINGS
from minbert.classroom.marking.marks import StepMark
from minbert.classroom.marking.predictions import Predictions, predictions_of
from minbert.classroom.mistakes import SLIPS
from minbert.classroom.source import PACKAGE
from minbert.classroom.starter import SEED
from minbert.classroom.steps import LEVELS, steps_of
from minbert.grade.gold import read_gold
from minbert.grade.submission import Source
from minbert.support.errors import InputError, RunError
from minbert.support.places import SAMPLE
from tests.classroom.bench import our_files
from tests.classroom.results_schema import is_valid
from tests.classroom.test_handed_in import written
from tests.classroom.test_marks import with_mistake

SCRIPTS = PACKAGE / "classroom" / "marking" / "gradescope_scripts"
STEPS = steps_of("attention")


def marked(name: str, lost: int = 0) -> Marked:
    marks = [StepMark(STEPS[0], 3, dict.fromkeys("ab"[:lost], "x")), StepMark(STEPS[1], 1)]
    scores = {"sst dev": 0.4, "overall": 0.61}
    return Marked(name, marks, Predictions(scores, ["sst"], []), [], 1.0)


def test_the_table_has_a_line_for_each_submission() -> None:
    rows = list(csv.reader(as_csv([marked("ann"), marked("=bob", 1)]).splitlines()))
    assert rows[0][:5] == ["name", "points", "of", "step 1 attention", "step 2 multihead"]
    assert rows[1] == ["ann", "29.0", "29", "15.0", "14.0", "0.4", "", "", "0.61"]
    assert rows[2][:4] == ["'=bob", "24.0", "29", "10.0"]  # no formula for a spreadsheet
    lines = as_text([marked("ann"), marked("=bob", 1)]).splitlines()
    assert lines[1].split() == ["ann", "29", "15", "14", ".610"]


def test_what_was_marked_before_a_stop_is_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Desk:
        def mark_all(self, _sources: object) -> Iterator[Marked]:
            yield marked("ann")
            raise RunError("the disk is gone")

    monkeypatch.setattr(command, "opened", lambda *_: nullcontext(Desk()))
    monkeypatch.setattr(command, "recorded", lambda *_: {})
    for name in ("ann", "bob"):
        written(tmp_path / "class" / name, our_files(STEPS))
    output = tmp_path / "marks"
    with pytest.raises(RunError, match="gone"):
        command.mark(MarkConfig(gold=str(SAMPLE), output=str(output)), tmp_path / "class")
    rows = csv.reader((output / "marks.csv").read_text().splitlines())
    assert [row[0] for row in rows] == ["name", "ann"]
    assert is_valid(json.loads((output / "ann.json").read_text()))


def test_names_of_results_stay_in_their_folder_and_differ() -> None:
    names = ["ann-2", "ann", "Ann", "../up", ".hidden", "a/b", "ü" * 300, "課" * 80, ""]
    files = list(command._files(Source(name, Path()) for name in names))
    assert len({file.lower() for file in files}) == len(names)
    assert all("/" not in f and f[0] != "." and len(f.encode()) < 120 for f in files)
    assert files[:3] == ["ann-2.json", "ann.json", "Ann-3.json"]


def test_one_submission_is_told_from_a_class(tmp_path: Path) -> None:
    config = MarkConfig(holes="attention")
    for name in ("ann", "bob"):
        written(tmp_path / name, our_files(STEPS))
    assert [s.name for s in submissions_in(tmp_path, config)] == ["ann", "bob"]
    assert [s.name for s in submissions_in(tmp_path / "ann", config)] == ["ann"]
    loose = written(tmp_path / "loose", {Path("attention.py"): b""})
    assert [s.path for s in submissions_in(loose, config)] == [loose]
    with pytest.raises(InputError, match="no such file"):
        submissions_in(tmp_path / "none", config)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mark", "none"], "none: no such file or folder"),
        (["mark", "."], "marks: is there already"),
        (["mark", ".", "--holes", "half"], "argument --holes"),
        (["mark", ".", "--seed", str(SEED)], "gives the inputs of the starter's own tests"),
        (["mark", ".", "--seconds", "0"], "--seconds 0: must be 1 or more"),
        (["mark", ".", "--workers", "-1"], "--workers -1"),
        (["mark", ".", "--gold", "none"], "--gold none: no such folder"),
        (["autograder", "out.tar"], "out.tar: name a file that ends in .zip"),
        (["autograder", "mine.zip"], "mine.zip: is there already, and is no zip"),
        (["autograder", "out.zip", "--visibility", "public"], "--visibility"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, {Path("marks/mine.txt"): b"x", Path("mine.zip"): b"x", Path("a/b"): b""})
    assert main(words) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and said in last
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "marks", "mine.zip"]


def test_a_seed_is_drawn_anew_unless_it_is_given() -> None:
    assert MarkConfig().drawn_seed() != MarkConfig().drawn_seed()
    assert MarkConfig(seed=3).drawn_seed() == 3


def test_prediction_files_are_graded(tmp_path: Path) -> None:
    gold = read_gold(SAMPLE, "dev", lint=False)
    rows = (SAMPLE / "ids-sst-dev.csv").read_text(encoding="utf-8").splitlines()[1:]
    lines = [f"{row.split(chr(9))[1]} , 2" for row in rows]
    text = "id \t Predicted_Sentiment \n" + "\n".join(lines) + "\n"
    written(tmp_path, {Path("predictions/sst-dev-output.csv"): text.encode()})
    found = predictions_of(Source("it", tmp_path), gold)
    assert 0.1 < found.scores["sst dev"] < 0.4 and found.words[0].startswith("sst: accuracy .")
    assert "every prediction is 2" in " ".join(found.problems)
    (tmp_path / "predictions" / "sst-dev-output.csv").unlink()
    found = predictions_of(Source("it", tmp_path), gold)
    assert (found.scores, found.words) == ({}, []) and "no prediction file" in found.problems[0]


@pytest.mark.parametrize("script", ["setup.sh", "run_autograder"])
def test_the_scripts_are_bash(script: str) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run([bash, "-n", SCRIPTS / script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (SCRIPTS / script).read_text().startswith("#!/usr/bin/env bash\n")


# ------------------------------------------------------------------------------ as it is really run


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zip") / "autograder.zip"
    assert main(["autograder", str(path), "--seed", "7", "--gold", str(SAMPLE)]) == 0
    return path


@pytest.mark.slow
def test_the_zip_holds_no_solution(zipped: Path) -> None:
    with zipfile.ZipFile(zipped) as archive:
        names = set(archive.namelist())
        assert {"setup.sh", "run_autograder", "requirements.txt", SETTINGS} <= names
        assert {f"{HIDDEN}/{step.name}.safetensors" for step in steps_of("course")} <= names
        assert f"{GOLD}/ids-sst-dev.csv" in names
        assert archive.getinfo("run_autograder").external_attr >> 16 == 0o100755
        for path, ours in our_files(steps_of("course")).items():
            text = archive.read(path.as_posix())
            assert b"raise NotImplementedError" in text and text != ours
        assert not [name for name in names if "mistakes" in name]
        assert json.loads(archive.read(SETTINGS))["holes"] == "course"
    before = zipped.read_bytes()
    autograder.make_autograder(AutograderConfig(seed=7, gold=str(SAMPLE)), zipped)
    assert zipped.read_bytes() == before
    autograder.make_autograder(AutograderConfig(seed=8, gold=str(SAMPLE)), zipped)
    assert zipped.read_bytes() != before


@pytest.fixture
def top(zipped: Path) -> Iterator[Path]:
    """Gradescope's folders, with the zip unpacked by its programs' rights, as a service does."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        for name in ("source", "submission", "results"):
            (top / name).mkdir()
        with zipfile.ZipFile(zipped) as archive:
            for entry in archive.infolist():
                path = Path(archive.extract(entry, top / "source"))
                path.chmod(entry.external_attr >> 16 & 0o777)
        shutil.copy2(top / "source" / "run_autograder", top)
        yield top


def script(top: Path, path: Path, programs: str) -> subprocess.CompletedProcess[str]:
    """A script in a clean environment."""
    return subprocess.run(
        [path],
        env={"AUTOGRADER": str(top), "PATH": programs, "HOME": str(top)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def results(top: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((top / "results" / "results.json").read_text())
    assert is_valid(found)
    return found


@pytest.mark.slow
def test_the_zip_marks_as_gradescope_would_run_it(top: Path) -> None:
    programs = str(Path(sys.executable).parent)
    done = script(top, top / "source" / "setup.sh", f"{programs}{os.pathsep}/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert Path((top / "source" / "python").read_text().strip()).parent == Path(programs)
    slip = SLIPS["adamw"][0]
    written(top / "submission", with_mistake(slip, our_files(steps_of("course"))))
    done = script(top, top / "run_autograder", "/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    tests = results(top)["tests"]
    assert isinstance(tests, list)
    lost = [t["name"] for t in tests if t.get("score", 0) < t.get("max_score", 0)]
    assert lost == ["step 5: AdamW"]
    assert slip.words in next(t["output"] for t in tests if t["name"] in lost)


@pytest.mark.slow
def test_an_autograder_that_fails_says_so_in_valid_results(top: Path) -> None:
    (top / "source" / "python").write_text(sys.executable)
    (top / "source" / SETTINGS).write_text("{}")
    (top / "results" / "results.json").mkdir()
    assert script(top, top / "run_autograder", "/usr/bin:/bin").returncode == 0
    assert results(top)["score"] == 0


@pytest.mark.slow
def test_a_class_is_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = our_files(STEPS)
    written(tmp_path / "class" / "ann", files)
    written(tmp_path / "class" / "bob", with_mistake(SLIPS["attention"][0], files))
    (tmp_path / "class" / "eve").mkdir()
    shutil.make_archive(str(tmp_path / "class" / "dan"), "zip", tmp_path / "class" / "ann")
    output = tmp_path / "marks"
    words = [str(tmp_path / "class"), "--holes", "attention", "--output", str(output)]
    assert main(["mark", *words, "--workers", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("ann ")
    rows = list(csv.reader((output / "marks.csv").read_text().splitlines()))
    assert [row[0] for row in rows[1:]] == ["ann", "bob", "dan", "eve"]
    assert [row[3] for row in rows[1:]][0::2] == ["15.0", "15.0"] and rows[4][1] == "0.0"
    assert float(rows[2][3]) < 15 and rows[2][4] == "14.0"
    for name in ("ann", "bob", "dan", "eve"):
        assert is_valid(json.loads((output / f"{name}.json").read_text()))


@pytest.mark.parametrize("level", LEVELS)
def test_points_of_the_course_are_a_hundred(level: str) -> None:
    points = sum(step.points for step in steps_of(level))
    assert points == {"attention": 29, "course": 100, "everything": 203}[level]

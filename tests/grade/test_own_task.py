"""Grading a user's own task: `--task_file` in place of the course's files."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from minbert.grade import __main__ as grade
from minbert.grade import reading
from minbert.grade.gold import read_gold
from minbert.grade.submission import locate
from minbert.tasks.predictions import render
from minbert.tasks.registry import BUILT_IN, TASKS, TITLES
from minbert.tasks.task_file import read

LABELS = ("glad", "sad", 'so, "so"')
TOPIC = """\
name = "mood"
kind = "classes"
texts = "text"
label = "mood"
labels = ["glad", "sad", "so, \\"so\\""]
[files]
train = "train.csv"
dev = "dev.jsonl"
test = "test.csv"
"""
SCORE = """\
name = "warmth"
kind = "regression"
texts = ["a", "b"]
label = "degrees"
range = [-10, 40]
id = "key"
[files]
train = "warm.csv"
dev = "warm.csv"
"""
ROWS = 40
TRUTH = np.random.default_rng(3).integers(0, 3, ROWS)
DEGREES = np.random.default_rng(4).uniform(-10, 40, ROWS).round(1)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two tasks and their files in `own/`; the current folder is another one."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "mood.toml").write_text(TOPIC)
    (own / "warmth.toml").write_text(SCORE)
    rows = [{"text": f"text {n}", "mood": LABELS[place]} for n, place in enumerate(TRUTH)]
    (own / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (own / "train.csv").write_text("text,mood\n" + "a,glad\nb,sad\n" * 2 * ROWS)
    tests = "".join(f"text {n},sad\n" for n in range(2 * ROWS))
    (own / "test.csv").write_text(f"text,mood\n{tests}")
    warm = "".join(f"k{n}\ta\tb\t{value}\n" for n, value in enumerate(DEGREES))
    (own / "warm.csv").write_text(f"key\ta\tb\tdegrees\n{warm}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def guessed(skill: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    keep = draw.random(ROWS) < skill
    classes = np.where(keep, TRUTH, draw.integers(0, 3, ROWS))
    numbers = np.where(keep, DEGREES, draw.uniform(-10, 40, ROWS)).astype(np.float32)
    return classes, numbers


def hand_in(folder: Path, classes: np.ndarray, numbers: np.ndarray) -> Path:
    """The prediction files as the main job names and writes them."""
    folder.mkdir(parents=True)
    mood, warmth = (read(f"own/{name}.toml").task() for name in ("mood", "warmth"))
    numbered = [str(row + 1) for row in range(ROWS)]
    keys = [f"k{n}" for n in range(ROWS)]
    (folder / "finetune-mood-dev-out.csv").write_text(render(mood, numbered, classes))
    (folder / "finetune-warmth-dev-out.csv").write_text(render(warmth, keys, numbers))
    return folder


FILES = ("--task_file", "own/mood.toml", "--task_file", "own/warmth.toml")


def graded(*argv: str) -> tuple[int, dict]:
    code = grade.main([*argv, "--json", "out.json"])
    found = json.loads(Path("out.json").read_text())["submissions"]
    return code, {one["name"]: one for one in found}


def test_scores_are_scikit_learns_and_scipys(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes, numbers = guessed(0.6, 1)
    hand_in(place / "me", classes, numbers)
    code, found = graded(*FILES, "me")
    said = capsys.readouterr()
    assert code == 0, said.err
    mood, warmth = (found["me"]["scores"][name] for name in ("mood", "warmth"))
    assert mood["accuracy"] == pytest.approx(metrics.accuracy_score(TRUTH, classes))
    assert mood["macro_f1"] == pytest.approx(metrics.f1_score(TRUTH, classes, average="macro"))
    assert warmth["pearson"] == pytest.approx(stats.pearsonr(numbers, DEGREES).statistic)
    assert found["me"]["overall"] == {"2023": None, "2024": None}
    assert "gold: own/ (mood dev, mood test, warmth dev)" in said.err
    assert "mood: label, predicted as" in said.out and 'so, "so"' in said.out


def test_the_files_may_lie_in_another_folder(place: Path) -> None:
    hand_in(place / "me", *guessed(1, 1))
    (place / "own" / "dev.jsonl").rename(place / "dev.jsonl")
    code, found = graded("--task_file", "own/mood.toml", "--gold", ".", "me")
    assert code == 0 and found["me"]["scores"]["mood"]["accuracy"] == 1
    with pytest.raises(KeyError):
        found["me"]["scores"]["warmth"]


def test_a_class_is_ranked_by_the_task(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, skill in (("anna", 0.2), ("ben", 1.0), ("carl", 0.5)):
        hand_in(place / "class" / name, *guessed(skill, 5))
    code = grade.main(
        ["--task_file", "own/mood.toml", "class", "--html", "page.html", "--csv", "c.csv"]
    )
    said = capsys.readouterr().out
    assert code == 0 and "overall" not in said
    lines = [line.split() for line in said.splitlines() if line.strip()]
    assert [line[1] for line in lines[1:4]] == ["ben", "carl", "anna"] and lines[1][0] == "1"
    page = (place / "page.html").read_text()
    assert "Overall" not in page and "mood accuracy" in page and "so, &#34;so&#34;" in page
    assert (place / "c.csv").read_text().splitlines()[1].startswith("ben,1,")


def test_every_defect_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = hand_in(place / "me", *guessed(0.6, 1))
    file = folder / "finetune-mood-dev-out.csv"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text(
        "".join([*lines[:3], "3 , merry \n", *lines[4:-1], "70 , sad \n", "99 , sad \n"])
    )
    assert grade.main([*FILES, "me"]) == 1
    said = capsys.readouterr().err
    assert "finetune-mood-dev-out.csv:4: prediction 'merry' is not one of 'glad', 'sad'" in said
    assert "id '70' is of mood test, not mood dev: leave it out" in said
    assert "id '99' is not in the gold files" in said  # in train it is but a row's number
    assert "1 id of 40 missing: '40'" in said


def test_test_files_with_labels_are_scored_on_demand(place: Path) -> None:
    folder = hand_in(place / "me", *guessed(0.6, 1))
    mood = read("own/mood.toml").task()
    names = [str(row + 1) for row in range(2 * ROWS)]
    answers = np.arange(2 * ROWS) % 2
    (folder / "finetune-mood-test-out.csv").write_text(render(mood, names, answers))
    code, found = graded("--task_file", "own/mood.toml", "--split", "test", "me")
    assert code == 0 and found["me"]["scores"]["mood"]["accuracy"] == 0.5
    assert grade.main(["--task_file", "own/mood.toml", "--split", "dev_2", "me"]) == 2


def test_lint_checks_without_labels(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hand_in(place / "me", *guessed(0.6, 1))
    assert grade.main([*FILES, "--lint", "me"]) == 0
    assert "finetune-warmth-dev-out.csv  warmth dev  ok" in capsys.readouterr().out


def test_the_courses_files_are_left_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = hand_in(place / "me", *guessed(0.6, 1))
    (folder / "sst-dev-output.csv").write_text("id \t Predicted_Sentiment \nabc , 3 \n")
    assert grade.main([*FILES, "me"]) == 0
    assert "not checked, no such ids in the gold: me/sst-dev-output.csv" in capsys.readouterr().err


def test_gold_goes_to_another_process_whole(place: Path) -> None:
    own = [read("own/mood.toml")]
    sent = pickle.dumps(read_gold(None, "dev", lint=False, own=own))
    (source,) = locate([hand_in(place / "me", *guessed(0.6, 1))])
    TASKS.pop("mood")
    reading._set_up(pickle.loads(sent))
    found = reading._read(source)
    assert found.problems == [] and found.predictions.keys() == {("finetune", "mood")}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--task_file", "none.toml", "."), "none.toml: cannot be read"),
        (("--task_file", "own/mood.toml", "--gold", "nowhere", "."), "--gold nowhere: no such"),
        (("--task_file", "own/mood.toml", "--gold", ".", "."), "none of .*dev.jsonl is there"),
        (("--task_file", "own/mood.toml", "--ceiling", "warmth=.9", "."), "no such task"),
    ],
)
def test_wrong_use_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], words: str
) -> None:
    assert grade.main(list(argv)) == 2
    said = capsys.readouterr().err
    assert re.search(words, said) and said.count("\n") == 1


def test_nothing_stays_known() -> None:
    assert (*BUILT_IN,) == tuple(TASKS) == tuple(TITLES)

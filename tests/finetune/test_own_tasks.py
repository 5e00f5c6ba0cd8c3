"""A user's own task, from a TOML file, in the main job: alone, beside others, and refused."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from minbert.encoder.config import EncoderConfig
from minbert.finetune import cli
from minbert.finetune.config import RunConfig
from minbert.finetune.identity import run_name, settings
from minbert.support.errors import InputError
from minbert.tasks.registry import BUILT_IN, TASKS
from tests.helpers import ROOT, save_encoder, write_course_files

MOOD = """\
name = "mood"
kind = "classes"
texts = "text"
label = "mood"
labels = ["glad", "sad", "so, so"]
[files]
train = "mood-train.csv"
dev = "mood-dev.jsonl"
dev_again = "mood-dev.jsonl"
test = "mood-test.tsv"
"""
ALIKE = """\
name = "alike"
kind = "regression"
texts = ["one", "other"]
label = "score"
range = [1, 7]
[files]
train = "alike.csv"
dev = "alike.csv"
"""
WORDS = {"glad": "good fine great", "sad": "bad dull poor", "so, so": "big old new"}


def mood_rows(count: int) -> list[tuple[str, str]]:
    labels = list(WORDS)
    return [(f"the film was {WORDS[label]}", label) for label in (labels * count)[:count]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: EncoderConfig) -> Path:
    """A current folder with two tasks' files in `own/`, the course's, and a tiny encoder."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "mood.toml").write_text(MOOD)
    (own / "alike.toml").write_text(ALIKE)
    rows = "".join(f'{text},"{label}"\n' for text, label in mood_rows(18))
    (own / "mood-train.csv").write_text(f"text,mood\n{rows}a song,merry\n")
    lines = [json.dumps({"text": text, "mood": label}) for text, label in mood_rows(9)]
    (own / "mood-dev.jsonl").write_text("\n".join(lines))
    (own / "mood-test.tsv").write_text("id\ttext\nq1\ta song\nq2\ta bad plot\n")
    pairs = "".join(f"a man plays;a woman {'sings ' * n};{n + 1}\n" for n in range(6))
    (own / "alike.csv").write_text(f"one;other;score\n{pairs}{pairs}")
    save_encoder(tmp_path / "encoder", tiny)
    write_course_files(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


FILE = ("--task_file", "own/mood.toml")
BOTH = (*FILE, "--task_file", "own/alike.toml")
JOB = ("--weights", "encoder", "--option", "finetune", "--epochs", "1")


def parsed(*argv: str) -> RunConfig:
    return cli.parse([*JOB, *argv])


# --------------------------------------------------------------------------------- what it means


@pytest.mark.parametrize(
    ("argv", "trained", "evaluated"),
    [
        (FILE, "mood", "mood"),
        ((*FILE, "--tasks", "mood"), "mood", "mood"),
        ((*FILE, "--rrobin"), "sst para sts mood", "sst para sts mood"),
        ((*FILE, "--tasks", "mood,sts", "--rrobin"), "mood sts", "sst para sts mood"),
        ((*BOTH, "--tasks", "alike,mood", "--rrobin"), "alike mood", "alike mood"),
        ((*BOTH, "--rrobin", "sqrt"), "sst para sts mood alike", "sst para sts mood alike"),
    ],
)
def test_which_tasks_train(
    place: Path, argv: tuple[str, ...], trained: str, evaluated: str
) -> None:
    config = parsed(*argv)
    assert config.trained_tasks == tuple(trained.split())
    assert config.evaluated_tasks == tuple(evaluated.split())
    assert config.single_task == (" " not in evaluated)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((*FILE, "--tasks", "sst"), "--task_file would do nothing here: it needs its task in"),
        (BOTH, "--tasks mood,alike: several tasks need --rrobin"),
        ((*FILE, *FILE), "own/mood.toml: a task 'mood' exists"),
        ((*FILE, "--tasks", "mud"), "--tasks mud: no such task; there are: .*, mood"),
        (("--tasks", "mood"), "--tasks mood: no such task"),
        (("--task_file", "own/no.toml"), "own/no.toml: cannot be read"),
        ((*FILE, "--data_dir", "data"), "--data_dir would do nothing here"),
        ((*FILE, "--cross_encoder"), "--cross_encoder would do nothing here"),
        ((*FILE, "--smart_lambda", "mood=1"), "--smart_lambda would do nothing here"),
        ((*FILE, "--smart", "--smart_lambda", "sst=1"), "sst does not train: mood"),
    ],
)
def test_what_makes_no_sense_is_refused(place: Path, argv: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        parsed(*argv)


def test_a_file_that_is_not_there_is_named(place: Path) -> None:
    (place / "own" / "mood-dev.jsonl").unlink()
    with pytest.raises(InputError, match=r"own/mood-dev.jsonl, dev of mood: no such file"):
        parsed(*FILE)


def test_what_the_file_says_is_part_of_what_the_run_is(place: Path) -> None:
    first, toml = parsed(*FILE), place / "own" / "mood.toml"
    toml.write_text(f"# a remark\n{MOOD}")
    assert run_name(parsed(*FILE)) == run_name(first)
    toml.write_text(f'title = "Moods"\n{MOOD}')
    assert settings(parsed(*FILE)) == settings(first)
    toml.write_text(MOOD.replace('"so, so"', '"neither"'))
    other = parsed(*FILE)
    assert settings(other) != settings(first) and run_name(other) != run_name(first)
    toml.write_text(MOOD.replace("mood-dev", "mood-other"))
    shutil.copy("own/mood-dev.jsonl", "own/mood-other.jsonl")
    moved = parsed(*FILE)
    assert settings(moved) == settings(first) and run_name(moved) != run_name(first)


def test_a_configuration_is_the_same_after_the_file_is_gone(place: Path) -> None:
    config = parsed(*FILE)
    sent = pickle.dumps(config)
    (place / "own" / "mood.toml").unlink()
    TASKS.pop("mood")
    received = pickle.loads(sent)
    again = dataclasses.replace(received, seed=3)
    assert TASKS["mood"].labels == ("glad", "sad", "so, so")
    assert settings(received) == settings(config) and again.trained_tasks == ("mood",)
    kept = RunConfig(**json.loads(json.dumps(dataclasses.asdict(config))))
    assert kept.own_tasks == config.own_tasks


def test_labels_that_are_not_named_are_those_of_the_train_file(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line = 'labels = ["glad", "sad", "so, so"]\n'
    (place / "own" / "mood.toml").write_text(MOOD.replace(line, ""))
    with caplog.at_level("INFO", logger="minbert"):
        config = parsed(*FILE)
    assert config.own_tasks["mood"].labels == ("glad", "merry", "sad", "so, so")
    assert "mood: 4 labels: glad, merry, sad, so, so" in caplog.text
    (place / "own" / "mood-train.csv").write_text("text,mood\na,10\nb,9\nc,10\nd,\n,8\n")
    assert parsed(*FILE).own_tasks["mood"].labels == ("9", "10")
    many = "".join(f"a,label {n}\n" for n in range(1001))
    for rows, words in (
        ("a,9\n", "1 labels"),
        (many, "1,001 labels"),
        ("a,\x07\nb,c\n", "label '"),
    ):
        (place / "own" / "mood-train.csv").write_text(f"text,mood\n{rows}")
        with pytest.raises(InputError, match=f"own/mood-train.csv: {words}"):
            parsed(*FILE)


# ------------------------------------------------------------------------------------ what it does


def predictions(path: Path) -> dict[str, str]:
    rows = [re.split(" ?, ?", line, maxsplit=1) for line in path.read_text().splitlines()[1:]]
    return {name: value.strip(' "') for name, value in rows}


def test_a_run_on_a_task_of_ones_own(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*JOB, *FILE, "--output_dir", "run"]
    assert cli.main(command) == 0
    said = capsys.readouterr()
    assert "own/mood-train.csv:20: id 19: label 'merry' is not one of 'glad', 'sad'" in said.err
    manifest = json.loads((place / "run" / "manifest.json").read_text())
    assert {"mood_train", "mood_dev", "mood_test"} < manifest["sha256"].keys()
    dev = predictions(place / "predictions" / "finetune-mood-dev-out.csv")
    assert list(dev) == [str(row) for row in range(1, 10)]
    right = [dev[str(row)] == label for row, (_, label) in enumerate(mood_rows(9), start=1)]
    assert manifest["dev"]["mood"] == pytest.approx(np.mean(right))
    assert predictions(place / "predictions" / "finetune-mood-dev_again-out.csv") == dev
    test = predictions(place / "predictions" / "finetune-mood-test-out.csv")
    assert list(test) == ["q1", "q2"] and set(test.values()) <= WORDS.keys()
    assert re.search(rf"mood +accuracy +{np.mean(right):.3f}", said.out)

    files = {path: path.read_bytes() for path in (place / "predictions").iterdir()}
    assert cli.main([*command, "--resume"]) == 0
    assert {path: path.read_bytes() for path in (place / "predictions").iterdir()} == files
    toml = place / "own" / "mood.toml"
    toml.write_text(MOOD.replace('"so, so"', '"so, so", "angry"'))
    assert cli.main([*command, "--resume"]) == 2
    assert "run was begun with another mood.labels (mood.labels was" in capsys.readouterr().err
    toml.unlink()
    assert cli.main(["--like", "run", "--output_dir", "again", "--max_steps", "1"]) == 0
    again = json.loads((place / "again" / "manifest.json").read_text())
    assert again["config"]["task_file"] == manifest["config"]["task_file"]


def test_beside_the_courses_tasks(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--rrobin", "full", "--limit_train", "6", "--batch_size", "4")
    assert cli.main([*JOB, *BOTH, *more, "--output_dir", "run"]) == 0
    said = capsys.readouterr()
    manifest = json.loads((place / "run" / "manifest.json").read_text())
    assert manifest["dev"].keys() == {"sst", "para", "sts", "mood", "alike"}
    course = [manifest["dev"][name] for name in ("sst", "para", "sts")]
    assert f"overall (2023) {np.mean(course):8.3f}" in said.out
    alike = predictions(place / "predictions" / "finetune-alike-dev-out.csv")
    assert all(1 <= float(value) <= 7 for value in alike.values()) and len(alike) == 12


METHODS = [
    ("--smart", "--rlayer", "--smart_lambda", "alike=2,mood=1"),
    ("--r4f", "--cross_encoder"),
    ("--freelb",),
    ("--smart", "--compat", "mtdnn"),
]


@pytest.mark.parametrize("flags", METHODS, ids=" ".join)
def test_every_method_takes_them(place: Path, flags: tuple[str, ...]) -> None:
    both = (*BOTH, "--tasks", "alike,mood", "--rrobin")
    assert cli.main([*JOB, *both, *flags, "--max_steps", "2", "--output_dir", "run"]) == 0
    manifest = json.loads((place / "run" / "manifest.json").read_text())
    assert manifest["dev"].keys() == {"alike", "mood"}


def test_predictions_of_others_are_never_replaced(place: Path) -> None:
    (place / "predictions").mkdir()
    (place / "predictions" / "finetune-mood-dev-out.csv").write_text("my notes")
    assert cli.main([*JOB, *FILE]) == 2
    assert (place / "predictions" / "finetune-mood-dev-out.csv").read_text() == "my notes"


def test_the_example_in_the_docs_runs(place: Path) -> None:
    page = (ROOT / "docs" / "own-task.md").read_text()
    toml = (ROOT / "docs" / "own-task" / "tickets.toml").read_text()
    assert f"```toml\n{toml}```" in page
    example = str(ROOT / "docs" / "own-task" / "tickets.toml")
    assert cli.main([*JOB, "--task_file", example, "--output_dir", "run", "--strict"]) == 0
    dev = predictions(place / "predictions" / "finetune-tickets-dev-out.csv")
    assert len(dev) == 36 and set(dev.values()) <= {"billing", "delivery", "account"}
    assert len(predictions(place / "predictions" / "finetune-tickets-test-out.csv")) == 18
    assert (*BUILT_IN, "tickets") == tuple(TASKS)

"""A task from a TOML file: what it makes, what it refuses, and that it is a task as others are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from minbert.support.errors import InputError
from minbert.tasks import course, heads
from minbert.tasks.own import Definition
from minbert.tasks.predictions import is_prediction_file, render
from minbert.tasks.registry import BUILT_IN, TASKS, TITLES, learn, overall
from minbert.tasks.task_file import read

TOPICS = """\
name = "topics"
title = "Topics of headlines"
kind = "classes"
texts = ["headline"]
label = "topic"
labels = ["world", "sport, games", "say \\"hi\\""]

[files]
train = "train.csv"
dev = "sub/dev.tsv"
test = "test.jsonl"
test_hard = "/elsewhere/hard.csv"
"""
FILES = {"train": "t", "dev": "d"}
YES = Definition("yes", "binary", ("a", "b"), "is_so", FILES)
SCORE = Definition("score", "regression", ("a", "b"), "s", FILES, range=(-10.0, 30.0))
KINDS = [
    Definition("few", "classes", ("a",), "l", FILES, ("x", "y", "z")),
    Definition("few2", "classes", ("a", "b"), "l", FILES, ("x", "y", "z")),
    replace(YES, texts=("a",)),
    YES,
    replace(SCORE, texts=("a",)),
    SCORE,
]
EVERY_KIND = pytest.mark.parametrize("own", KINDS, ids=lambda own: f"{own.kind}-{len(own.texts)}")


def write(folder: Path, text: str = TOPICS) -> str:
    (folder / "task.toml").write_text(text, encoding="utf-8")
    return str(folder / "task.toml")


def test_a_file_says_what_the_task_is(tmp_path: Path) -> None:
    own = read(write(tmp_path))
    task = own.task()
    assert (task.name, task.title, task.text_columns) == (
        "topics",
        "Topics of headlines",
        ("headline",),
    )
    assert task.num_outputs == 3 and task.labels == own.labels
    assert task.files == {
        "train": str(tmp_path / "train.csv"),
        "dev": str(tmp_path / "sub" / "dev.tsv"),
        "test": str(tmp_path / "test.jsonl"),
        "test_hard": "/elsewhere/hard.csv",
    }
    assert task.scored_splits == ("dev", "test", "test_hard")


def test_its_definition_in_one_line_is_the_same_task(tmp_path: Path) -> None:
    own = read(write(tmp_path))
    (tmp_path / "task.toml").unlink()
    line = own.as_json()
    assert "\n" not in line and read(line) == own and read(line).as_json() == line
    assert json.loads(json.dumps(own.decisive)).keys() == own.decisive.keys()


def test_title_and_places_decide_no_result_and_all_else_does(tmp_path: Path) -> None:
    own = read(write(tmp_path))
    assert replace(own, title="x", files={**own.files, "dev": "y"}).decisive == own.decisive
    for change in ({"label": "x"}, {"texts": ("x",)}, {"labels": ("x", "y")}, {"quotes": False}):
        assert replace(own, **change).decisive != own.decisive


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "topics"', "", "no key 'name'"),
        ('kind = "classes"', "", "no key 'kind'"),
        ("[files]", "[elsewhere]", "unknown key 'elsewhere'"),
        ("label =", "lable =", "unknown key 'lable'.*did you mean label"),
        ('"classes"', '"clases"', "kind 'clases' is none of classes, binary, regression"),
        ('"classes"', '"binary"', "labels names 3: kind binary has two"),
        ('"classes"', '"regression"', "labels are for classes"),
        ('"topic"', "3", "label is 3, not a text in quotes"),
        ('["headline"]', '["a", "b", "c"]', "texts names 3 columns, not one or two"),
        ('["headline"]', '["a", "a"]', "each needs a name of its own"),
        ('["headline"]', '["topic"]', "each needs a name of its own"),
        ('["headline"]', "[]", "texts names 0 columns"),
        ('["headline"]', "[7]", "texts is 7, not a text in quotes"),
        ('"world"', '"sport, games"', "labels names a label twice"),
        ('"world"', '" world"', "label ' world': blanks around it"),
        ('"world"', '"wor\\u0007ld"', "no text"),
        ('"world"', f'"{"w" * 300}"', "too long"),
        ("labels = [", 'labels = ["one"]  # [', "labels names 1: kind classes has two or more"),
        ('dev = "sub/dev.tsv"', "", "files names no dev file"),
        ("test_hard", "tests", "files.tests is none of train, dev, test"),
        ("test_hard", "train_2", "files.train_2 is none of"),
        ('test = "test.jsonl"', "test = 3", "files.test is 3, not a text in quotes"),
        ("title =", 'metric = "pearson"\ntitle =', "metric 'pearson': of classes there is: acc"),
        ("title =", "range = [0, 1]\ntitle =", "range is for a regression"),
        ("title =", "quotes = 1\ntitle =", "quotes is 1, neither true nor false"),
        ('"topics"', '"my topics"', "name 'my topics' is not up to 40 letters"),
        ('"topics"', '"a/b"', "name 'a/b' is not"),
        ('"topics"', '"type"', "name 'type' has a meaning of its own"),
        ('"topics"', '"Overall"', "name 'Overall' has a meaning of its own"),
        ("[files]", "[files", "cannot be read as TOML"),
    ],
)
def test_what_is_no_task_is_refused_in_one_line(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    assert old in TOPICS
    path = write(tmp_path, TOPICS.replace(old, new, 1))
    with pytest.raises(InputError, match=words) as caught:
        read(path)
    assert str(caught.value).startswith(path) and "\n" not in str(caught.value)


@pytest.mark.parametrize("given", ["", "range = [1]", "range = [5, 1]", "range = [1, 1]"])
def test_a_regression_needs_its_range(tmp_path: Path, given: str) -> None:
    text = f'name = "s"\nkind = "regression"\ntexts = "t"\nlabel = "l"\n{given}\n[files]\n'
    with pytest.raises(InputError, match=r"as in range = \[1, 5\]"):
        read(write(tmp_path, f'{text}train = "a"\ndev = "b"\n'))


@pytest.mark.parametrize("given", ["[1, 1e400]", "[1, nan]", "[true, 2]", '["a", 2]', "[1, inf]"])
def test_a_range_is_of_numbers(tmp_path: Path, given: str) -> None:
    text = f'name = "s"\nkind = "regression"\ntexts = "t"\nlabel = "l"\nrange = {given}\n[files]\n'
    with pytest.raises(InputError, match="not two numbers"):
        read(write(tmp_path, f'{text}train = "a"\ndev = "b"\n'))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    deep = tmp_path / "deep.toml"
    deep.write_text(f"a = {'[' * 100_000}")
    for path in (tmp_path, tmp_path / "none.toml", deep):
        with pytest.raises(InputError, match="cannot be read"):
            read(str(path))


@pytest.mark.parametrize("name", ["sst", "SST", "quora", "cfimdb", "para", "sts"])
def test_the_name_of_a_task_that_exists_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, TOPICS.replace('"topics"', f'"{name}"'))
    with pytest.raises(InputError, match=f"task.toml: a task '{name}' exists"):
        learn([path])
    assert TASKS.keys() == TITLES.keys() == set(BUILT_IN)


def test_tasks_are_known_from_when_they_are_learned_and_the_last_of_a_name_counts() -> None:
    learn([YES.as_json(), SCORE.as_json()])
    assert (*BUILT_IN, "yes", "score") == tuple(TASKS)
    assert TITLES["yes"] == "yes"
    assert overall({"yes": 0.5, "score": 0.0}) == 0.5
    learn([replace(YES, title="So?").as_json()])
    assert TITLES["yes"] == "So?" and len(TASKS) == len(BUILT_IN) + 2
    with pytest.raises(InputError, match="a task 'Yes' exists"):
        learn([YES.as_json(), replace(YES, name="Yes").as_json()])


@pytest.mark.parametrize("line", ['{"name": ', '{"a":' * 100_000, '{"name": 3}', "{}"])
def test_a_line_that_is_no_definition_is_refused(line: str) -> None:
    """A manifest may have been changed by hand."""
    with pytest.raises(InputError, match=r"^task_file: "):
        learn([line])


@EVERY_KIND
def test_it_is_a_task_as_others_are(own: Definition) -> None:
    """Perfect logits score 1; the head has the loss's shape; a divergence tells outputs apart."""
    task = own.task()
    names = own.labels or (() if own.kind == "regression" else ("0", "1"))
    spelled = names or ("-10", "0", "30", "12.5")
    labels = np.array([task.parse_label(text) for text in spelled], dtype=np.float32)
    if own.kind == "classes":
        logits = 9 * np.eye(3, dtype=np.float32)
    elif own.kind == "binary":
        logits = 9 * (labels[:, None] - 0.5)
    else:
        logits = (labels[:, None] + 10) / 8  # from -10..30 to 0..5
    predictions = task.decode(logits)
    assert task.metric(predictions, labels) == pytest.approx(1)
    assert [task.parse_label(task.spelled(value)) for value in predictions] == labels.tolist()
    tensor = torch.from_numpy(logits)
    assert task.loss(tensor, torch.from_numpy(labels)) == pytest.approx(0, abs=0.02)
    assert task.divergence(tensor, -tensor) > 0
    assert (task.pair_head is not None) == task.relational == task.is_pair
    if task.pair_head is not None:
        assert task.pair_head(6)(torch.randn(2, 4, 6)).shape == (4, task.num_outputs)
    assert task.freelb_init and task.freelb_radius


def test_numbers_train_as_those_of_sts_whatever_their_range() -> None:
    task, sts = SCORE.task(), course.STS
    logits, other = 5 * torch.rand(2, 9, 1)
    labels = 5 * torch.rand(9)
    torch.testing.assert_close(task.loss(logits, 8 * labels - 10), sts.loss(logits, labels))
    torch.testing.assert_close(task.divergence(logits, other), sts.divergence(logits, other))
    assert task.center == sts.center
    assert task.pair_head is not None and isinstance(task.pair_head(4), heads.CosineHead)
    wild = np.array([[-3.0], [9.0]], dtype=np.float32)
    assert task.decode(wild).tolist() == [-10.0, 30.0]


def test_labels_may_be_numbers_in_any_spelling_and_in_any_order(tmp_path: Path) -> None:
    text = TOPICS[: TOPICS.index("labels")] + "labels = [3, 1, -1]\n" + TOPICS[TOPICS.index("[f") :]
    task = read(write(tmp_path, text)).task()
    assert [task.parse_label(text) for text in ("3", "1.0", "-1", "3.00")] == [0, 1, 2, 0]
    assert [task.spelled(place) for place in range(3)] == ["3", "1", "-1"]
    for wrong in ("0", "", "x", "nan"):
        with pytest.raises(ValueError, match="is not one of '3', '1', '-1'"):
            task.parse_label(wrong)


def test_prediction_files_spell_the_labels(tmp_path: Path) -> None:
    task = read(write(tmp_path)).task()
    text = render(task, ["a", "b", "c"], np.array([0, 1, 2]))
    assert text == ('id \t Predicted_topics \na , world \nb ,"sport, games"\nc ,"say ""hi"""\n')
    (tmp_path / "out.csv").write_text(text)
    assert is_prediction_file(tmp_path / "out.csv")

"""A loaded run answers as its own prediction files do, whatever the model's form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minbert.data.reading import read_split
from minbert.finetune.evaluate import encode_texts
from minbert.predict import load, predictor
from minbert.support.errors import InputError
from minbert.tasks.registry import TASKS
from tests.helpers import MakeRun, finished_run

FORMS: dict[str, dict[str, Any]] = {
    "as published": {},
    "mean, cut short": {"pooling": "mean", "max_length": 6},
    "pairs together": {"cross_encoder": True},
    "relational": {"rlayer": True, "rlayer_activation": "sigmoid"},
    "pairs together, relational": {"cross_encoder": True, "rlayer": True},
    "R4F": {"r4f": True},
    "frozen": {"option": "pretrain", "lr": 1e-3},
    "8 bits": {"int8": True},
    "alone": {"tasks": ("cfimdb",)},
    "as if up to 1": {"sts_scale": 1.0},
}


@pytest.fixture
def run(make_run: MakeRun) -> Path:
    """A run on the course's three tasks."""
    return make_run()


def predicted(path: Path) -> dict[str, float]:
    """A prediction file: predictions by id."""
    rows = (line.split(" , ") for line in path.read_text().splitlines()[1:])
    return {name: float(value) for name, value in rows}


@pytest.mark.parametrize("form", FORMS)
def test_answers_are_those_of_the_runs_own_prediction_files(make_run: MakeRun, form: str) -> None:
    run = make_run(**FORMS[form])
    ask = load(run)
    for name in ask.tasks:
        for split in ("dev", "test"):
            task, files = TASKS[name], TASKS[name].files
            (file,) = (run.parent / "predictions").glob(f"*{name}-{split}-*")
            theirs = predicted(file)
            rows = read_split(task, split, run.parent / "data" / files[split]).examples
            texts = [row.texts if task.is_pair else row.texts[0] for row in rows]
            ours = ask(name, texts)
            assert [row.id for row in rows] == list(theirs)
            assert [answer.texts for answer in ours] == [row.texts for row in rows]
            if task.classes:
                assert [answer.prediction for answer in ours] == list(theirs.values())
            gap = np.subtract([answer.prediction for answer in ours], list(theirs.values()))
            assert np.abs(gap).max() <= 1e-5


def test_an_answer_names_its_class_and_gives_probabilities(run: Path) -> None:
    ask = load(run)
    (answer,) = ask("sst", "a very good film")
    classes = TASKS["sst"].classes
    assert answer.label == classes[int(answer.prediction)]
    assert answer.probabilities is not None
    assert tuple(answer.probabilities) == classes
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    assert answer.probability == max(answer.probabilities.values())
    (pair,) = ask("para", ("a man sings", "the man sings"))
    assert pair.probabilities is not None
    assert (pair.probabilities["paraphrase"] > 0.5) == (pair.label == "paraphrase")
    (score,) = ask("sts", [("a man sings", "a man sings")])
    assert score.score == pytest.approx(5, abs=1e-5) and score.label is None


def test_texts_come_one_by_one_or_many_and_each_answer_is_its_own(run: Path) -> None:
    ask = load(run)
    texts = ["a dog runs", "the film was dull", "a dog runs"]
    together = ask("sst", texts)
    for text, answer in zip(texts, together, strict=True):
        (alone,) = ask("sst", text)
        assert alone.texts == answer.texts == (text,)
        assert alone.probability == pytest.approx(answer.probability, abs=1e-5)
    pairs = ask("sts", ["a dog", "a man", "the film", "the cast"])
    assert [answer.texts for answer in pairs] == [("a dog", "a man"), ("the film", "the cast")]
    assert ask("sst", []) == ask("sts", []) == []


@pytest.mark.parametrize(
    ("task", "texts", "words"),
    [
        ("cfimdb", ["a"], "no task cfimdb in this run; it has: sst, para, sts"),
        ("sts", ["a"], "sts: takes two texts, or pairs of them, and got 1"),
        ("sts", [("a", "b", "c")], "sts: takes two texts, or pairs of them, and got 3"),
        ("sts", [("a", "b"), "c"], "sts: takes two texts, or pairs of them, and got 1"),
        ("sst", [("a", "b")], "sst: takes single texts and got 2"),
        ("sst", [(1,)], "sst: takes single texts"),
    ],
)
def test_wrong_questions_are_refused(run: Path, task: str, texts: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load(run)(task, texts)


def test_texts_of_several_tasks_go_through_the_encoder_once(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, passes = load(run), []

    def counted(*arguments: Any) -> torch.Tensor:
        passes.append(0)
        return encode_texts(*arguments)

    monkeypatch.setattr(predictor, "encode_texts", counted)
    tasks = [ask.run.task("para"), ask.run.task("sts")]
    split = read_split(tasks[0], "test", run.parent / "data" / "quora-test-student.csv")
    for task, found in zip(tasks, ask.answers(tasks, split), strict=True):
        theirs = ask(task.name, [example.texts for example in split.examples])
        assert [a.prediction for a in found] == pytest.approx([a.prediction for a in theirs])
    assert len(passes) == 3


def test_a_run_says_what_it_trained_on(make_run: MakeRun) -> None:
    ask = load(make_run(tasks=("sst", "sts")))
    assert (ask.trained, tuple(ask.tasks)) == (("sst", "sts"), ("sst", "para", "sts"))


OWN = {
    "mood": 'kind = "classes"\ntexts = "sentence"\nlabel = "sentiment"\nlabels = [0, 1, 2, 3, 4]',
    "likeness": 'kind = "regression"\ntexts = ["sentence1", "sentence2"]\nlabel = "similarity"\n'
    "range = [-1, 5]",
}
OWN_FILES = {"mood": "ids-sst", "likeness": "sts"}


@pytest.mark.parametrize("name", OWN)
def test_a_users_own_task_is_answered_without_its_file(tmp_path: Path, name: str) -> None:
    toml = tmp_path / "own.toml"
    splits = {"train": "train", "dev": "dev", "test": "test-student"}
    files = [f'{s} = "data/{OWN_FILES[name]}-{end}.csv"' for s, end in splits.items()]
    toml.write_text("\n".join([f'name = "{name}"', OWN[name], "[files]", *files]))
    run = finished_run(tmp_path, task_file=(str(toml),), tasks=(name,), data_dir=None)
    toml.unlink()
    (file,) = (run.parent / "predictions").glob(f"*{name}-dev-*")
    ask = load(run)
    task = ask.run.task(name)
    texts = [row.texts for row in read_split(task, "dev", Path(task.files["dev"])).examples]
    answers = ask(name, texts)
    theirs = [line.split(" , ")[1].strip() for line in file.read_text().splitlines()[1:]]
    if task.classes:
        assert [answer.label for answer in answers] == theirs
    else:
        ours = [answer.score for answer in answers]
        assert ours == pytest.approx(list(map(float, theirs)), abs=1e-5)
        assert -1 <= min(ours) < max(ours) <= 5

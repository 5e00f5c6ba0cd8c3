"""Prediction files: the course's format byte for byte, replaced whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from minbert.support.durable_files import write_texts
from minbert.tasks import predictions
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Array, Task

LOGITS = {
    "sst": np.asarray([[0, 0, 0, 9, 0], [5, 0, 0, 0, 0]], dtype=np.float32),
    "para": np.asarray([[-2.5], [3.5]], dtype=np.float32),
    "sts": np.asarray([[3.140625], [7.25]], dtype=np.float32),
    "cfimdb": np.asarray([[0, 1], [1, 0]], dtype=np.float32),
}
EXPECTED = {
    "sst": b"id \t Predicted_Sentiment \nb02 , 3 \na01 , 0 \n",
    "para": b"id \t Predicted_Is_Paraphrase \nb02 , 0.0 \na01 , 1.0 \n",
    "sts": b"id \t Predicted_Similiary \nb02 , 3.140625 \na01 , 5.0 \n",
    "cfimdb": b"id \t Predicted_Sentiment \nb02 , 1 \na01 , 0 \n",
}


def write(path: Path, task: Task, ids: list[str], values: Array) -> None:
    write_texts({path: predictions.render(task, ids, values)})


@pytest.mark.parametrize("task", LOGITS)
def test_a_file_is_the_courses_byte_for_byte_in_the_given_order(tmp_path: Path, task: str) -> None:
    path = tmp_path / "predictions" / "out.csv"
    write(path, TASKS[task], ["b02", "a01"], TASKS[task].decode(LOGITS[task]))
    assert path.read_bytes() == EXPECTED[task]


def test_a_similarity_keeps_all_its_digits() -> None:
    values = np.random.default_rng(0).uniform(0, 5, 200).astype(np.float32)
    text = predictions.render(TASKS["sts"], [str(i) for i in range(200)], values)
    read = [float(line.split(" , ")[1]) for line in text.splitlines()[1:]]
    assert np.array_equal(np.asarray(read, dtype=np.float32), values)


def test_ids_come_out_as_they_went_in() -> None:
    ids = ["007", "7", "é", "a b"]
    text = predictions.render(TASKS["sst"], ids, np.arange(4))
    assert [line.split(" , ")[0] for line in text.splitlines()[1:]] == ids


def test_a_prediction_is_due_for_every_id(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    for ids in (["a"], ["a", "b", "c"]):
        with pytest.raises(ValueError, match="zip"):
            write(path, TASKS["sst"], ids, np.asarray([1, 2]))
    assert path.read_text() == "old"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")

    def disk_full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        write(path, TASKS["sst"], ["a"], np.asarray([1]))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_rows_of_a_file_are_counted_without_its_header(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    assert predictions.count_rows(path) == 0
    path.write_bytes(b"")
    assert predictions.count_rows(path) == 0
    for count in (0, 1, 5):
        ids = [str(i) for i in range(count)]
        write(path, TASKS["sst"], ids, np.arange(count))
        assert predictions.count_rows(path) == count


def test_a_prediction_file_is_known_by_its_header(tmp_path: Path) -> None:
    write(tmp_path / "ours.csv", TASKS["sst"], ["a"], np.asarray([1]))
    (tmp_path / "data.csv").write_text("\tid\tsentence\n")
    (tmp_path / "thesis.txt").write_text("Chapter 1")
    (tmp_path / "ideas.txt").write_text("ideas for a thesis")
    (tmp_path / "rows.csv").write_text("id\tsentence\n")
    (tmp_path / "comma.csv").write_text("id,Predicted_Similarity\n")
    (tmp_path / "empty.csv").touch()
    assert predictions.is_prediction_file(tmp_path / "ours.csv")
    assert not predictions.is_prediction_file(tmp_path / "thesis.txt")
    assert predictions.is_prediction_file(tmp_path / "comma.csv")
    assert predictions.is_prediction_file(tmp_path / "empty.csv")
    assert not predictions.is_prediction_file(tmp_path / "ideas.txt")
    assert not predictions.is_prediction_file(tmp_path / "rows.csv")
    assert not predictions.is_prediction_file(tmp_path / "data.csv")

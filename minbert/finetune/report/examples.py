"""The dev examples that a run has most clearly wrong, and those of which it is surest."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from minbert.data.batches import Dataset
from minbert.finetune.build_data import read_file
from minbert.finetune.report.outcome import OnDev, Outcome
from minbert.model import MultitaskBert
from minbert.reports.tables import Table
from minbert.support.console import log
from minbert.tasks.answers import class_probabilities
from minbert.tasks.task import Array, Task

_SHOWN = 5  # examples of each kind
_LOOKED_AT = 64  # answers of each kind whose probability is computed
_ROWS = 16  # of a batch
_LETTERS = 240  # of a text


@dataclass(frozen=True)
class Answer:
    """An example by its number in the dataset. `probability` is None on a scale."""

    row: int
    kind: str
    label: float
    prediction: float
    probability: float | None


def clearest(model: MultitaskBert, one: OnDev) -> list[Answer]:
    """The worst answers, then the surest right ones.

    Among classes they are those to which the model gives the largest probability, of at most 64
    wrong and 64 right ones, drawn at random. On a scale they are those farthest from the label, and
    those nearest to it.
    """
    if one.task.top is not None:
        order = np.argsort(-np.abs(one.predictions - one.labels), kind="stable")
        worst, nearest = order[:_SHOWN], order[_SHOWN:][::-1][:_SHOWN]
        return [*_answers(one, "farthest", worst), *_answers(one, "nearest", nearest)]
    right = one.predictions == one.labels
    return [*_surest(model, one, "wrong", ~right), *_surest(model, one, "right", right)]


def _surest(model: MultitaskBert, one: OnDev, kind: str, wanted: Array) -> Iterator[Answer]:
    places = np.flatnonzero(wanted)
    chosen = np.random.default_rng(0).permutation(places)[:_LOOKED_AT]
    sure = probabilities(model, one.dataset, one.rows[chosen])
    order = np.argsort(-sure, kind="stable")[:_SHOWN]
    return _answers(one, kind, chosen[order], sure[order])


def _answers(one: OnDev, kind: str, places: Array, sure: Array | None = None) -> Iterator[Answer]:
    for number, at in enumerate(places):
        probability = None if sure is None else float(sure[number])
        label, prediction = float(one.labels[at]), float(one.predictions[at])
        yield Answer(int(one.rows[at]), kind, label, prediction, probability)


@torch.inference_mode()
def probabilities(model: MultitaskBert, dataset: Dataset, rows: Array) -> Array:
    """The probability (n,) that the model gives to its answers to the examples in `rows` (n,)."""
    order, found = np.argsort(dataset.lengths[rows], kind="stable"), np.zeros(len(rows))
    for first in range(0, len(rows), _ROWS):
        part = order[first : first + _ROWS]
        logits = model(dataset.batch(rows[part], model.device)).float()  # (B, k)
        known = class_probabilities(dataset.task, logits.cpu().numpy())
        assert known is not None, "a score has no probability"
        found[part] = known.max(axis=1)
    return found


def table(outcome: Outcome, one: OnDev, answers: Sequence[Answer]) -> Table:
    """The answers with their texts, as the dev file has them."""
    texts = _texts(outcome, one, answers)
    on_scale = one.task.top is not None
    sure = [] if on_scale else ["probability"]
    rows = [
        [
            answer.kind,
            _value(one.task, answer.label),
            _value(one.task, answer.prediction),
            *([] if answer.probability is None else [f"{answer.probability:.3f}"]),
            texts[one.dataset.ids[answer.row]],
            one.dataset.ids[answer.row],
        ]
        for answer in answers
    ]
    header = ["answer", "label", "predicted", *sure, "text", "id"]
    what = "farthest and nearest" if on_scale else "surest answers, wrong and right"
    return Table(f"{one.task.title}: {what}", header, rows)


def _value(task: Task, value: float) -> str:
    """A label or prediction as people say it: the name of a class, or a score."""
    return task.classes[int(value)] if task.classes else f"{value:.2f}"


def _texts(outcome: Outcome, one: OnDev, answers: Sequence[Answer]) -> Mapping[str, str]:
    """The texts of the examples by id, cut to a readable length."""
    wanted = {one.dataset.ids[answer.row] for answer in answers}
    with _quietly():
        split = read_file(outcome.config, one.task.name, "dev")
    return {
        example.id: " | ".join(map(_cut, example.texts))
        for example in split.examples
        if example.id in wanted
    }


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Leave out what was said when the file was read first."""
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)

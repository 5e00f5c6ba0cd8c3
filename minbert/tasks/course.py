"""The tasks, as data. A new task is one entry in `TASKS`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from minbert.tasks import heads, losses, metrics

Array = NDArray[Any]


@dataclass(frozen=True)
class Task:
    """What a task is made of. Dimensions: B examples, k outputs, V texts an example (1 or 2)."""

    name: str
    text_columns: tuple[str, ...]
    label_column: str
    prediction_column: str  # in the header of the course's prediction files
    num_outputs: int
    parse_label: Callable[[str], float]  # ValueError says what is wrong
    loss: Callable[[Tensor, Tensor], Tensor]  # logits (B, k), labels (B,) -> mean
    divergence: Callable[[Tensor, Tensor], Tensor]  # logits (B, k) twice -> mean
    decode: Callable[[Array], Array]  # logits (B, k) -> predictions (B,)
    metric: Callable[[Array, Array], float]  # predictions, labels -> score
    metric_name: str
    pair_head: Callable[[int], nn.Module] | None = None  # hidden size -> head over u and v
    center: float = 0.0  # where the outputs of a linear head start

    def points(self, score: float) -> float:
        """The score's share in the course's 2024 overall: a correlation r counts (r + 1) / 2."""
        return (score + 1) / 2 if self.metric is metrics.pearson else score


def _class_label(count: int) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = plain_number(text)
        if value not in range(count):
            raise ValueError(f"{text!r} is not one of 0..{count - 1}")
        return value

    return parse


def plain_number(text: str) -> float:
    """A number in plain spelling; `float` alone would also read 0_1 and other scripts' digits.

    Raises ValueError for anything else, `nan` and `inf` included.
    """
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.ASCII | re.IGNORECASE) is None:
        raise ValueError(f"{text!r} is not a number")
    return float(text)


def _score_label(top: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = plain_number(text)
        if not (math.isfinite(value) and 0 <= value <= top):
            raise ValueError(f"{text!r} is not between 0 and {top:g}")
        return value

    return parse


def _largest(logits: Array) -> Array:
    return np.argmax(logits, axis=-1)


def _above_half(logits: Array) -> Array:
    return (logits[:, 0] > 0).astype(np.float32)  # σ(s) > ½


def _clipped(top: float) -> Callable[[Array], Array]:
    def decode(logits: Array) -> Array:
        return np.clip(logits[:, 0], 0.0, top).astype(np.float32)

    return decode


def _sentiment(name: str, classes: int) -> Task:
    return Task(
        name=name,
        text_columns=("sentence",),
        label_column="sentiment",
        prediction_column="Predicted_Sentiment",
        num_outputs=classes,
        parse_label=_class_label(classes),
        loss=losses.cross_entropy,
        divergence=losses.symmetric_kl,
        decode=_largest,
        metric=metrics.accuracy,
        metric_name="accuracy",
    )


_TOP_SIMILARITY = 5.0

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        _sentiment("sst", 5),
        Task(
            name="para",
            text_columns=("sentence1", "sentence2"),
            label_column="is_duplicate",
            prediction_column="Predicted_Is_Paraphrase",
            num_outputs=1,
            parse_label=_class_label(2),
            loss=losses.binary_cross_entropy,
            divergence=losses.symmetric_kl_bernoulli,
            decode=_above_half,
            metric=metrics.accuracy,
            metric_name="accuracy",
            pair_head=lambda hidden_size: heads.DifferenceHead(hidden_size, 1),
        ),
        Task(
            name="sts",
            text_columns=("sentence1", "sentence2"),
            label_column="similarity",
            prediction_column="Predicted_Similiary",  # the course's own spelling
            num_outputs=1,
            parse_label=_score_label(_TOP_SIMILARITY),
            loss=losses.squared_error,
            divergence=losses.squared_distance,
            decode=_clipped(_TOP_SIMILARITY),
            metric=metrics.pearson,
            metric_name="Pearson r",
            pair_head=lambda _hidden_size: heads.CosineHead(_TOP_SIMILARITY),
            center=_TOP_SIMILARITY / 2,
        ),
        _sentiment("cfimdb", 2),
    )
}


def overall(scores: Mapping[str, float]) -> float:
    """The course's 2024 overall score: the mean of the tasks' points."""
    return float(np.mean([TASKS[name].points(score) for name, score in scores.items()]))

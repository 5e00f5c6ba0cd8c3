"""What a model's logits say of an example, for people: a label with probabilities, or a score."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minbert.tasks.task import Array, Task


@dataclass(frozen=True)
class Answer:
    """A model's answer to one example.

    `prediction` is what a prediction file has: the number of a class, or a score. `label` names the
    class, and `probabilities` has those of all classes by name; both are None for a score.
    """

    task: str
    texts: tuple[str, ...]
    prediction: float
    label: str | None = None
    probabilities: Mapping[str, float] | None = None

    @property
    def score(self) -> float | None:
        """The score of a regression; None where there are classes."""
        return self.prediction if self.label is None else None

    @property
    def probability(self) -> float | None:
        """The probability of the label; None for a score."""
        return None if self.probabilities is None else self.probabilities[str(self.label)]

    def as_json(self) -> dict[str, Any]:
        """The answer as a JSON object; probabilities have six decimals."""
        about = {"task": self.task, "texts": list(self.texts)}
        if self.probabilities is None:
            return {**about, "score": self.prediction}
        rounded = {name: round(p, 6) for name, p in self.probabilities.items()}
        named = {"label": self.label, "prediction": int(self.prediction)}
        return {**about, **named, "probabilities": rounded}


def answers(task: Task, texts: Iterator[tuple[str, ...]], logits: Array) -> Iterator[Answer]:
    """The answers to n examples by their texts and logits (n, k)."""
    predictions = task.decode(logits)
    probabilities = class_probabilities(task, logits)
    for number, (own, found) in enumerate(zip(texts, predictions, strict=True)):
        if probabilities is None:
            yield Answer(task.name, own, float(str(found)))  # the digits of the prediction file
        else:
            by_name = dict(zip(task.classes, probabilities[number].tolist(), strict=True))
            label = task.classes[int(found)]
            yield Answer(task.name, own, int(found), label, by_name)


def class_probabilities(task: Task, logits: Array) -> Array | None:
    """Softmax over k logits, or σ of the one of two classes: (n, classes). None for scores."""
    if not task.classes:
        return None
    scores = logits.astype(np.float64)
    if scores.shape[1] == 1:  # the other class has the logit 0
        scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)

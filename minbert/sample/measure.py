"""Measurements of the sample: its sizes, and how far the words alone lead.

Ceilings are the scores of the labels before noise: no model can be expected to do better. The
baselines know words but neither their order nor what they mean.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from minbert.sample.tables import SampleRow, SampleTask
from minbert.tasks.metrics import accuracy, pearson

Splits = Mapping[str, Sequence[SampleRow]]
Column = NDArray[np.float64]


def words(text: str) -> list[str]:
    """Return a text's words in small letters; "n't" and "mind-numbing" are one word each."""
    return re.findall(r"[a-z]+(?:['-][a-z]+)*", text.lower())


def vocabulary(rows: Iterable[SampleRow]) -> set[str]:
    """Return all the words of some rows."""
    return {word for row in rows for text in row.texts for word in words(text)}


def facts(task: SampleTask, splits: Splits) -> Iterator[tuple[str, float]]:
    """Yield the name and value of each measurement of a task's files."""
    rows = [row for made in splits.values() for row in made]
    train, dev = splits["train"], splits["dev"]
    yield "words a text", float(np.mean([len(t.split()) for row in rows for t in row.texts]))
    yield "distinct words", len(vocabulary(rows))
    yield "distinct words of dev that train lacks", len(vocabulary(dev) - vocabulary(train))
    yield "share of dev with something held out", float(np.mean([row.novel for row in dev]))
    yield from scores(task, train, dev)


def scores(
    task: SampleTask, train: Sequence[SampleRow], dev: Sequence[SampleRow]
) -> Iterator[tuple[str, float]]:
    """Yield the dev scores of the labels before noise, and of the words alone."""
    truth, labels = _column([row.truth for row in dev]), _labels(dev)
    if task.stem == "sts":
        yield "ceiling: r of the labels without noise", pearson(truth, labels)
        yield "words: r of the cosine", pearson(cosines(train, dev), labels)
        return
    yield "ceiling: accuracy of the labels without noise", accuracy(truth, labels)
    yield "majority label", max(Counter(labels.tolist()).values()) / len(labels)
    if task.pair:
        cosine, known = cosines(train, dev), cosines(train, train)
        yield "words: area under the curve of the cosine", area(cosine, labels)
        yield "words: accuracy of the cosine", _thresholded(known, _labels(train), cosine, labels)
    else:
        yield "words: accuracy of a regression on one and two words", regressed(train, dev)


def _column(values: Sequence[float]) -> Column:
    return np.array(values, dtype=np.float64)


def _labels(rows: Sequence[SampleRow]) -> Column:
    return _column([float(row.label) for row in rows])


# ---- How much two texts share -------------------------------------------------------------
def cosines(train: Sequence[SampleRow], rows: Sequence[SampleRow]) -> Column:
    """Return the cosine of the two texts' words, each weighted by its rarity in train (tf-idf)."""
    texts = [set(words(text)) for row in train for text in row.texts]
    spread = Counter(word for text in texts for word in text)

    def weights(text: str) -> dict[str, float]:
        counts = Counter(words(text))
        return {w: n * math.log((1 + len(texts)) / (1 + spread[w])) for w, n in counts.items()}

    return _column([_cosine(*map(weights, row.texts)) for row in rows])


def _cosine(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    norms = math.hypot(*first.values()) * math.hypot(*second.values())
    return sum(weight * second.get(word, 0.0) for word, weight in first.items()) / norms


def area(values: Column, labels: Column) -> float:
    """Return the chance that a positive has a higher value than a negative; ties count half."""
    above = values[labels == 1][:, None] - values[labels == 0][None, :]
    return float(np.mean((above > 0) + 0.5 * (above == 0)))


def _thresholded(known: Column, known_labels: Column, values: Column, labels: Column) -> float:
    """Return the accuracy of calling a pair duplicate above the best threshold of train."""
    thresholds = [*np.unique(known), np.inf]
    best = max(thresholds, key=lambda threshold: accuracy(known >= threshold, known_labels))
    return accuracy(values >= best, labels)


# ---- Which words a text has ---------------------------------------------------------------
def regressed(train: Sequence[SampleRow], dev: Sequence[SampleRow]) -> float:
    """Return dev accuracy of a softmax regression on the presence of words and pairs of words."""
    used = Counter(gram for row in train for gram in _grams(row))
    index = {gram: i for i, gram in enumerate(gram for gram, n in used.items() if n > 1)}
    labels = torch.from_numpy(_labels(train)).long()
    weights = _fitted(_presence(train, index), labels)
    return accuracy((_presence(dev, index) @ weights).argmax(dim=1).numpy(), _labels(dev))


def _grams(row: SampleRow) -> list[str]:
    singles = words(row.texts[0])
    return sorted({*singles, *map(" ".join, pairwise(singles))})


def _presence(rows: Sequence[SampleRow], index: Mapping[str, int]) -> torch.Tensor:
    """Return ones where a row has a word, (rows, words + 1), with a last column of ones."""
    matrix = torch.zeros(len(rows), len(index) + 1)
    matrix[:, -1] = 1.0
    for i, row in enumerate(rows):
        matrix[i, [index[gram] for gram in _grams(row) if gram in index]] = 1.0
    return matrix


def _fitted(inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return weights (columns, classes) of least cross-entropy plus squared norm over the rows."""
    weights = torch.zeros(inputs.shape[1], int(labels.max()) + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=30)

    def loss() -> float:
        optimizer.zero_grad()
        value = F.cross_entropy(inputs @ weights, labels) + weights.square().sum() / len(labels)
        value.backward()
        return float(value.detach())

    optimizer.step(loss)
    return weights.detach()

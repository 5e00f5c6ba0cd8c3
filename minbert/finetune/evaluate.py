"""Evaluation: pooled vectors of texts, predictions for a dataset, dev scores."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from minbert.data.batches import Dataset, by_length, pad
from minbert.model import MultitaskBert
from minbert.support.console import ProgressBar
from minbert.support.device import release_memory, to_device
from minbert.support.errors import RunError
from minbert.tasks.metrics import of_commonest
from minbert.tasks.task import Array
from minbert.training import group

# padded tokens in a pass: enough to fill a GPU, and few enough to stay in a CPU's cache
PASS_TOKENS = {"cpu": 512, "mps": 16384, "cuda": 65536}
_HEAD_ROWS = 8192


def encode_texts(
    model: MultitaskBert, dataset: Dataset, title: str, *, exact: bool = True
) -> Tensor:
    """Pooled vectors (distinct texts, H) of a dataset, without dropout or gradients.

    `title` names the progress bar. Every rank encodes its share of the texts and gets all vectors.
    They have the training pass's precision unless `exact`.
    """
    texts, device = dataset.texts, model.device
    model.eval()
    like = model.encoder.pooler.weight  # its device and dtype
    pooled = like.new_zeros(len(texts.lengths), model.encoder.config.hidden_size)
    passes = list(by_length(texts.lengths, PASS_TOKENS[device.type]))[group.rank() :: group.size()]
    precision = model.scoring_precision(exact=exact)
    with precision, ProgressBar(sum(map(len, passes)), title, "texts") as bar:
        for indices in passes:
            tokens = pad(texts, indices, dataset.pad_id, device)
            with torch.inference_mode():
                vectors = model.pool(tokens, scoring=True)
            pooled[to_device(indices, device)] = vectors.to(pooled.dtype)
            bar.update(len(indices))
    release_memory()
    return group.summed(pooled)  # a text's vector from one rank, zeros from the others


def predict(model: MultitaskBert, dataset: Dataset, title: str) -> Array:
    """Decoded predictions (n,), in the dataset's order. Raises RunError where one is not finite."""
    return dataset.task.decode(score_logits(model, dataset, title))


@torch.no_grad()
def score_logits(model: MultitaskBert, dataset: Dataset, title: str) -> Array:
    """Logits (n, k), in the dataset's order. Raises RunError where one is not finite."""
    if dataset.features is None:
        dataset = dataset.with_features(encode_texts(model, dataset, title))
    logits = [
        model(dataset.batch(np.arange(first, min(first + _HEAD_ROWS, len(dataset))), model.device))
        for first in range(0, len(dataset), _HEAD_ROWS)
    ]
    values = torch.cat(logits).cpu().numpy()
    if not np.isfinite(values).all():
        raise RunError(f"{title}: predictions are not finite; lower --lr, or set --clip")
    return values


def score(dataset: Dataset, predictions: Array) -> float:
    """The metric that decides, over the examples that have a label."""
    return all_scores(dataset, predictions)[dataset.task.metric_name]


def all_scores(dataset: Dataset, predictions: Array) -> dict[str, float]:
    """Every metric of the task by its name, over the examples that have a label."""
    labelled = ~np.isnan(dataset.labels)
    guesses, labels = predictions[labelled], dataset.labels[labelled]
    return {metric.name: metric.score(guesses, labels) for metric in dataset.task.metrics}


def commonest_scores(dataset: Dataset) -> dict[str, float]:
    """Every metric of the task, by its name, of answering with the commonest label alone."""
    return {metric.name: of_commonest(metric, dataset.labels) for metric in dataset.task.metrics}


def evaluate(
    model: MultitaskBert, datasets: Mapping[str, Dataset]
) -> tuple[dict[str, float], dict[str, Array]]:
    """The score of each task's dataset, and the predictions that were scored."""
    predictions = {name: predict(model, data, f"dev {name}") for name, data in datasets.items()}
    return {name: score(data, predictions[name]) for name, data in datasets.items()}, predictions

"""The features of one encoder: computed once, kept in float32, and how far they drifted.

A step writes `dev.npz` with, for each probed task and split, `TASK SPLIT rows` (n, V), the
numbers of the V texts of each example, `TASK SPLIT labels` (n,), `TASK SPLIT INPUT` (texts, H) for
each input, and `layers` (L + 1, texts, H). The result beside it has the drift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from minbert.data.batches import Dataset
from minbert.encoder.bert import BertModel
from minbert.experiments.probe import geometry
from minbert.experiments.probe.vectors import layer_vectors, text_vectors
from minbert.finetune.build_data import build_tokenizer, encoded, read_file
from minbert.finetune.config import ResolvedConfig
from minbert.support.device import pick_device
from minbert.support.errors import RunError
from minbert.support.randomness import derive_seed, seeded

LAYERS = "layers"
_SPECTRUM = 32  # of the largest singular values, which a result keeps
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Features:
    """The arrays of a step, and what its result says of drift."""

    arrays: Arrays
    drift: Mapping[str, Any]


def compute(
    config: ResolvedConfig, encoder: Path | None, seed: int, texts: int, reference: Arrays | None
) -> Features:
    """The features of an encoder's folder; None is random weights of the pretrained one's shape.

    `config` names data and pretrained encoder, `texts` are those that drift is measured on, and
    `reference` are the pretrained encoder's arrays, None where it is the one. Raises RunError where
    the encoder has changed by being read.
    """
    pretrained = BertModel.from_pretrained(str(config.weights))
    if encoder is None:
        with seeded(derive_seed(seed, "random encoder"), torch.device("cpu")):
            model = BertModel(pretrained.config).eval()
    else:
        model = BertModel.from_pretrained(encoder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    arrays = _arrays(config, model.to(pick_device(config.device)), texts)
    model = model.cpu()
    if not all(torch.equal(before[name], own) for name, own in model.state_dict().items()):
        raise RunError(f"{encoder}: its weights have changed while features were computed")
    drift = measured(arrays[LAYERS], (reference or arrays)[LAYERS])
    return Features(arrays, {"layers": drift, "distance": distances(model, pretrained)})


def _arrays(config: ResolvedConfig, model: BertModel, texts: int) -> Arrays:
    arrays: Arrays = {}
    layers = []
    for name, split, dataset in _datasets(config, model):
        key = f"{name} {split}"
        arrays |= {f"{key} rows": dataset.rows, f"{key} labels": dataset.labels}
        arrays |= {f"{key} {own}": v for own, v in text_vectors(model, dataset).items()}
        if split == "dev":
            share = max(1, texts // len(config.trained_tasks))
            layers.append(layer_vectors(model, dataset, share))
    arrays[LAYERS] = np.concatenate(layers, axis=1)
    return arrays


def _datasets(config: ResolvedConfig, model: BertModel) -> list[tuple[str, str, Dataset]]:
    tokenizer = build_tokenizer(config, model.config)
    return [
        (name, split, encoded(config, read_file(config, name, split), tokenizer))
        for name in config.trained_tasks
        for split in ("train", "dev")
    ]


def measured(
    layers: NDArray[np.floating], reference: NDArray[np.floating]
) -> Sequence[Mapping[str, Any]]:
    """Geometry of each layer's vectors (L + 1, n, H), and its likeness to the reference's."""
    return [_measured(own, theirs) for own, theirs in zip(layers, reference, strict=True)]


def _measured(own: NDArray[np.floating], reference: NDArray[np.floating]) -> Mapping[str, Any]:
    values = geometry.spectrum(own)
    largest = values[0] if values[0] > 0 else 1.0
    return {
        "cka": geometry.linear_cka(own, reference),
        "effective_rank": geometry.effective_rank(values),
        "anisotropy": geometry.anisotropy(values),
        "mean_cosine": geometry.mean_cosine(own),
        "spectrum": [float(value / largest) for value in values[:_SPECTRUM]],
    }


def distances(model: BertModel, pretrained: BertModel) -> Mapping[str, float]:
    """‖θ − θ₀‖ / ‖θ₀‖ of all weights, of the embeddings, and of each layer, in float64."""
    ours, theirs = model.state_dict(), pretrained.state_dict()
    squares: dict[str, list[float]] = {}
    for name, own in ours.items():
        first, second = own.double(), theirs[name].double()
        moved, size = float(((first - second) ** 2).sum()), float((second**2).sum())
        parts = name.split(".")
        part = f"layer {int(parts[1]) + 1}" if parts[0] == "layers" else "embeddings"
        for place in ("all", "pooler" if parts[0] == "pooler" else part):
            sums = squares.setdefault(place, [0.0, 0.0])
            sums[0], sums[1] = sums[0] + moved, sums[1] + size
    return {place: (m / size) ** 0.5 if size > 0 else 0.0 for place, (m, size) in squares.items()}

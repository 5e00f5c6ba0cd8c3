"""Features of tiny encoders: those of the model, and an encoder that reading does not change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from minbert.data.batches import pad
from minbert.encoder.bert import BertModel
from minbert.experiments.grid.cells import configuration
from minbert.experiments.probe import features, process
from minbert.experiments.probe.geometry import linear_cka
from minbert.experiments.probe.vectors import layer_vectors, text_vectors
from minbert.support.durable_files import sha256_of
from minbert.support.errors import RunError
from tests.experiments.grids import Place
from tests.helpers import CPU, TINY, make_dataset, random_texts


def encoder() -> BertModel:
    torch.manual_seed(1)
    return BertModel(TINY).eval()


def test_vectors_are_those_of_the_model() -> None:
    model, dataset = encoder(), make_dataset("sst", random_texts("sst", 9), [0.0] * 9)
    found, layers = text_vectors(model, dataset), layer_vectors(model, dataset, 100)
    every = np.arange(len(dataset.texts.lengths))
    tokens = pad(dataset.texts, every, dataset.pad_id, CPU)
    with torch.no_grad():
        out = model(tokens.input_ids, tokens.attention_mask, tokens.token_type_ids)
    last, mask = out["last_hidden_state"], tokens.attention_mask[..., None]
    mean = ((last * mask).sum(1) / mask.sum(1)).numpy()
    for own, theirs in (
        (found["cls"], last[:, 0]),
        (found["pooled"], out["pooler_output"]),
        (found["mean"], mean),
        (layers[-1], mean),
    ):
        np.testing.assert_allclose(own, theirs, atol=1e-5)
    assert layers.shape == (TINY.num_hidden_layers + 1, len(every), TINY.hidden_size)
    assert layer_vectors(model, dataset, 4).shape[1] == 4


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place.make(tmp_path_factory.mktemp("features"))


def test_the_encoders_bytes_are_the_same_after_its_features(place: Place) -> None:
    flags = "--option finetune --tasks sst,sts --rrobin --dev_only"
    config = configuration(f"{flags} {' '.join(place.extra)}")
    weights = Path(str(config.weights)) / "model.safetensors"
    before = sha256_of(weights)
    own = features.compute(config, Path(str(config.weights)), 1, 20, None)
    assert sha256_of(weights) == before
    assert own.drift["distance"]["all"] == 0
    assert all(layer["cka"] == pytest.approx(1) for layer in own.drift["layers"])
    random, again, other = (
        features.compute(config, None, seed, 20, own.arrays) for seed in (1, 1, 2)
    )
    assert random.drift["distance"]["all"] > 0.1 and random.drift["layers"][-1]["cka"] < 1
    key = "sts dev mean"
    np.testing.assert_array_equal(random.arrays[key], again.arrays[key])
    assert (random.arrays[key] != other.arrays[key]).any()
    assert own.arrays[key].dtype == np.float32
    with pytest.raises(RunError, match="the encoder is gone"):
        process._hash(place.root / "nowhere")


def test_an_encoder_that_reading_changes_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configuration(f"--tasks sst --dev_only {' '.join(place.extra)}")
    arrays = features._arrays

    def spoilt(config: object, model: BertModel, texts: int) -> features.Arrays:
        with torch.no_grad():
            model.pooler.bias[0] += 1
        return arrays(config, model, texts)  # type: ignore[arg-type]

    monkeypatch.setattr(features, "_arrays", spoilt)
    with pytest.raises(RunError, match="its weights have changed"):
        features.compute(config, Path(str(config.weights)), 1, 20, None)


def test_drift_knows_no_rotation_and_a_planted_collapse_is_seen() -> None:
    rng = np.random.default_rng(0)
    layers = rng.normal(size=(2, 50, 8))
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    turned = features.measured(layers @ rotation + 3.0, layers)
    assert all(layer["cka"] == pytest.approx(1, abs=1e-9) for layer in turned)
    line = np.outer(rng.normal(size=50), rng.normal(size=8))
    (collapsed,) = features.measured(line[None], layers[:1])
    assert collapsed["effective_rank"] <= 1.1 and collapsed["anisotropy"] >= 0.99
    assert collapsed["cka"] == pytest.approx(linear_cka(line, layers[0]))


def test_distance_is_relative_and_by_part() -> None:
    first, second = encoder(), encoder()
    with torch.no_grad():
        for weight in second.layers[1].parameters():
            weight *= 1.5
    found = features.distances(second, first)
    assert found["layer 2"] == pytest.approx(0.5) and found["layer 1"] == 0 == found["embeddings"]
    assert 0 < found["all"] < 0.5

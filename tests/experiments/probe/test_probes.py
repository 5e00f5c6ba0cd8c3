"""Probes of features made by hand: what they must find, and what they must not."""

from __future__ import annotations

import numpy as np
import pytest

from minbert.experiments.probe.geometry import anisotropy, effective_rank, spectrum
from minbert.experiments.probe.probes import CONVERGED, PUBLISHED, Rows, joined, probe
from minbert.experiments.probe.published import fit_adam
from minbert.experiments.r3f_settings import Published, published
from minbert.tasks.registry import TASKS

SST, STS = TASKS["cfimdb"], TASKS["sts"]  # two classes; a score


def planted(count: int, seed: int, size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels of two classes, which a plane parts with some noise."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, size))
    labels = (features[:, :3].sum(axis=1) + 0.5 * rng.normal(size=count) > 0).astype(np.float64)
    return features, labels


def two_sets(change: np.ndarray | None = None) -> tuple[Rows, Rows]:
    sets = [planted(300, seed) for seed in (0, 1)]
    change = np.eye(12) if change is None else change
    return Rows(sets[0][0] @ change, sets[0][1]), Rows(sets[1][0] @ change, sets[1][1])


def test_what_the_features_hold_is_found_and_the_strength_is_chosen_without_dev() -> None:
    train, dev = two_sets()
    found = probe(SST, train, dev, CONVERGED)
    assert found.score > 0.85 and found.gradient <= 1e-8
    other = Rows(dev.features, 1 - dev.labels)
    assert probe(SST, train, other, CONVERGED).strength == found.strength
    assert probe(SST, train, other, CONVERGED).score == pytest.approx(1 - found.score)


def test_shuffled_labels_score_at_chance() -> None:
    train, dev = two_sets()
    scores = []
    for seed in range(6):
        shuffled = np.random.default_rng(seed).permutation(train.labels)
        scores.append(probe(SST, Rows(train.features, shuffled), dev, CONVERGED).score)
    assert abs(np.mean(scores) - 0.5) < 0.08


def test_rotation_and_shift_of_the_features_change_no_probe() -> None:
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(12, 12)))[0]
    plain, turned = two_sets(), two_sets(rotation)
    moved = [Rows(rows.features + np.arange(12.0), rows.labels) for rows in turned]
    first, second = probe(SST, *plain, CONVERGED), probe(SST, *moved, CONVERGED)
    assert first.strength == second.strength
    assert second.loss == pytest.approx(first.loss, rel=1e-9)
    np.testing.assert_array_equal(first.predictions, second.predictions)


def test_a_collapsed_encoder_tells_what_its_one_direction_carries_and_nothing_else() -> None:
    """All texts lie on a line: their place on it can be read, and no other property."""
    (train, carried), (dev, carried_dev) = planted(400, 0), planted(400, 1)
    direction = np.random.default_rng(5).normal(size=12)
    places = [carried + 0.1 * train[:, 9], carried_dev + 0.1 * dev[:, 9]]
    collapsed = [np.outer(place, direction) for place in places]
    spread = spectrum(collapsed[0])
    assert effective_rank(spread) <= 1.1 and anisotropy(spread) >= 0.99
    on_the_line = [Rows(f, y) for f, y in zip(collapsed, (carried, carried_dev), strict=True)]
    assert probe(SST, *on_the_line, CONVERGED).score > 0.95
    lost = [(x[:, 11] > 0).astype(np.float64) for x in (train, dev)]  # the features had it
    full = [Rows(f, y) for f, y in zip((train, dev), lost, strict=True)]
    assert probe(SST, *full, CONVERGED).score > 0.9
    gone = [Rows(f, y) for f, y in zip(collapsed, lost, strict=True)]
    assert abs(probe(SST, *gone, CONVERGED).score - 0.5) < 0.1


@pytest.mark.parametrize("solver", [CONVERGED, PUBLISHED])
def test_a_score_is_read_by_regression(solver: str) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 6))
    labels = np.clip(2.5 + features @ np.linspace(0.2, 1, 6), 0, 5)
    train, dev = Rows(features[:200], labels[:200]), Rows(features[200:], labels[200:])
    found = probe(STS, train, dev, solver, updates=0.1)
    assert found.score > 0.8 and found.record["dev_rows"] == 200


def test_a_pair_reads_both_vectors_their_distance_and_their_product() -> None:
    u, v = np.array([[1.0, -2.0]]), np.array([[3.0, 5.0]])
    np.testing.assert_array_equal(joined(np.stack([u, v], axis=1)), [[1, -2, 3, 5, 2, 7, 3, -10]])
    np.testing.assert_array_equal(joined(u[:, None]), u)


def test_rows_without_a_label_are_left_out() -> None:
    arrays = {
        "sst dev rows": np.array([[2], [0], [1]]),
        "sst dev labels": np.array([1.0, np.nan, 0.0]),
        "sst dev cls": np.arange(6.0).reshape(3, 2),
    }
    rows = Rows.of(arrays, "sst", "dev", "cls")
    np.testing.assert_array_equal(rows.features, [[4, 5], [2, 3]])
    np.testing.assert_array_equal(rows.labels, [1, 0])


def test_adam_follows_the_library() -> None:
    """Weight decay apart, which is decoupled here, an update is torch's."""
    import torch

    features, labels = planted(40, 0)
    training = Published(0.01, 25, 40)
    found = fit_adam(features, labels, 2, training, 0)
    layer = torch.nn.Linear(12, 2).double()
    torch.nn.init.zeros_(layer.weight), torch.nn.init.zeros_(layer.bias)
    groups = [{"params": layer.weight, "weight_decay": 0.01}]
    groups.append({"params": layer.bias, "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.98), eps=1e-6)
    x, y = torch.tensor(features), torch.tensor(labels).long()
    for update in range(25):
        warm = max(1, round(0.06 * 25))
        rate = (update + 1) / warm if update < warm else (25 - update) / (25 - warm)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * rate
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(layer(x), y).backward()
        optimizer.step()
    np.testing.assert_allclose(found.matrix, layer.weight.detach().numpy().T, atol=1e-9)
    np.testing.assert_allclose(found.bias, layer.bias.detach().numpy(), atol=1e-9)


def test_the_published_updates_are_table_5() -> None:
    assert published("rte") == Published(1e-5, 3_120, 8)
    assert published("qqp") == published("para") == Published(5e-6, 113_272, 32)
    assert published("rte").share(0.01).updates == 31

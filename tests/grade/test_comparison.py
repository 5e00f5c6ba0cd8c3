"""A class compared: pairs as the paired tests have them one by one, ties, agreement."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from minbert.grade import comparison as comparison_module
from minbert.grade.comparison import compare, kappa
from minbert.statistics.paired_tests import mcnemar, paired_bootstrap, steiger
from minbert.tasks.metrics import pearson
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Array
from tests.statistics.simulated import noisy

SIZES = {"sst": 1000, "para": 2000, "sts": 800}


def labels_of() -> dict[str, Array]:
    draw = np.random.default_rng(0)
    classes = {name: draw.integers(0, 5, size).astype(float) for name, size in SIZES.items()}
    return {**classes, "para": classes["para"] % 2, "sts": draw.random(SIZES["sts"]) * 5}


LABELS = labels_of()


def work(skill: float, seed: int) -> dict[str, Array]:
    """A submission of that skill: the share it has right, and how little it errs in similarity."""
    draw = np.random.default_rng(seed)
    similar = LABELS["sts"] + draw.normal(0, 2 - skill, SIZES["sts"])
    sst = noisy(LABELS["sst"], skill, seed).astype(float)
    return {"sst": sst, "para": noisy(LABELS["para"], skill, seed) % 2.0, "sts": similar}


def test_pairs_are_those_of_the_paired_tests() -> None:
    class_ = [work(skill, seed) for seed, skill in enumerate((0.6, 0.62, 0.7, 0.7))]
    for name, labels in LABELS.items():
        pairs = comparison_module._pairs(name, class_, labels)
        for i, j in np.ndindex(4, 4):
            first, second = class_[i][name], class_[j][name]
            test = (steiger if name == "sts" else mcnemar)(first, second, labels)
            assert pairs.p_values[i, j] == pytest.approx(test.p_value, rel=1e-6, abs=1e-12)
        own = [pearson(one[name], labels) if name == "sts" else np.mean(one[name] == labels)
               for one in class_]  # fmt: skip
        assert pairs.scores == pytest.approx(own)


@pytest.mark.parametrize("name", LABELS)
def test_the_variance_of_a_difference_is_the_bootstraps(name: str) -> None:
    first, second = work(0.6, 1)[name], work(0.7, 2)[name]
    half = np.arange(len(first)) % 2 == 0  # two that have much in common
    second = (first + second) / 2 if name == "sts" else np.where(half, first, second)
    pairs = comparison_module._pairs(name, [{name: first}, {name: second}], LABELS[name])

    def metric(p: Array, y: Array) -> float:
        return pearson(p, y) if name == "sts" else float(np.mean(p == y))

    interval = paired_bootstrap(metric, first[None], second[None], LABELS[name], rounds=500)
    width = 2 * 1.96 * pairs.variances[0, 1] ** 0.5
    assert width == pytest.approx(interval.high - interval.low, rel=0.15)


def test_equal_submissions_tie_and_different_ones_do_not() -> None:
    found = compare([work(0.9, 1), work(0.9, 2), work(0.6, 3), work(0.9, 1)], LABELS)
    for name in ("sst", "para", "sts", "overall"):
        assert found.ranks[name] == [1, 1, 4, 1], name


def test_an_equal_class_is_all_first_nineteen_times_in_twenty() -> None:
    alone = 0
    for trial in range(100):
        class_ = [{"sst": work(0.6, 100 * trial + i)["sst"]} for i in range(6)]
        ranks = compare(class_, {"sst": LABELS["sst"]}).ranks["sst"]
        alone += set(ranks) == {1}
    assert alone >= 88  # 95 less three binomial deviations


def test_only_whole_submissions_have_an_overall_rank() -> None:
    part = {name: values for name, values in work(0.9, 1).items() if name != "sts"}
    found = compare([work(0.6, 3), part, work(0.9, 2)], LABELS)
    assert found.ranks["sts"] == [2, None, 1]
    assert found.ranks["overall"] == [2, None, 1]
    assert found.ranks["sst"] == [3, 1, 1]
    assert "overall" not in compare([part, part], LABELS).ranks


def test_unlabelled_rows_say_nothing() -> None:
    labels = {name: values.copy() for name, values in LABELS.items()}
    for values in labels.values():
        values[::2] = np.nan
    first, second = work(0.6, 1), work(0.9, 1)
    for name, values in first.items():  # equal where there is a label
        values[1::2] = second[name][1::2]
    assert compare([first, second], labels).ranks["overall"] == [1, 1]


# ------------------------------------------------------------------------------------- agreement


def test_kappa_is_scikit_learns() -> None:
    rows = np.stack([noisy(LABELS["sst"], skill, i) for i, skill in enumerate((0.5, 0.7, 0.9))])
    holes = rows.astype(float)
    holes[1, ::3] = np.nan
    expected = [[cohen_kappa_score(*np.nan_to_num((a, b), nan=9)) for a in holes] for b in holes]
    np.testing.assert_allclose(kappa(holes), expected)
    assert np.isnan(kappa(np.zeros((2, 9)))).all()


def test_agreement_is_the_mean_over_the_common_tasks() -> None:
    first, second = work(0.7, 1), work(0.7, 2)
    half = {"sst": first["sst"]}
    found = compare([first, second, half], LABELS).agreement
    parts = [
        cohen_kappa_score(first["sst"], second["sst"]),
        cohen_kappa_score(first["para"], second["para"]),
        stats.pearsonr(first["sts"], second["sts"]).statistic,
    ]
    assert found[0, 1] == pytest.approx(np.mean(parts))
    assert found[1, 2] == pytest.approx(parts[0])
    np.testing.assert_allclose(np.diagonal(found), 1)
    constant = {name: np.full(size, 1.0) for name, size in SIZES.items()}
    assert np.isnan(compare([constant, constant], LABELS).agreement).all()


def alike(*class_: Mapping[str, Array]) -> list[tuple[int, int, set[str]]]:
    found = compare(class_, LABELS).alike
    return [(pair.first, pair.second, set(pair.agreement)) for pair in found]


def test_near_identical_means_more_where_a_correlation_decides() -> None:
    bounds = {name: task.near_identical for name, task in TASKS.items()}
    assert bounds == {"sst": 0.97, "para": 0.97, "sts": 0.999, "cfimdb": 0.97}
    assert alike({"sts": LABELS["sts"]}, {"sts": noisy_similarity(0.98)}) == []
    assert alike({"sts": LABELS["sts"]}, {"sts": noisy_similarity(0.9995)}) == [(0, 1, {"sts"})]


def noisy_similarity(r: float) -> Array:
    """Predictions that correlate with the labels by about `r`."""
    noise = np.random.default_rng(4).normal(0, LABELS["sts"].std(), SIZES["sts"])
    return np.asarray(r * LABELS["sts"] + np.sqrt(1 - r * r) * noise)


def test_near_identical_submissions_are_shown_closest_first() -> None:
    original, other = work(0.7, 1), work(0.7, 2)
    edited = {name: values.copy() for name, values in original.items()}
    edited["sst"][:8] = (edited["sst"][:8] + 1) % 5
    edited["sts"] = other["sts"]
    copied = {name: 2 * values if name == "sts" else values for name, values in original.items()}
    assert alike(original, other) == []
    assert alike(other, original, edited, copied) == [
        (1, 3, {"sst", "para", "sts"}),
        (1, 2, {"sst", "para"}),
        (2, 3, {"sst", "para"}),
        (0, 2, {"sts"}),
    ]

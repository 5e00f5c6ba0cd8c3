"""The figures' claims and the rule, on probes whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from minbert.experiments.probe.chain import Place
from minbert.experiments.probe.config import ProbeConfig
from minbert.experiments.probe.figures import MEAN, Contrast, contrasts_of, series_of
from minbert.experiments.probe.outcome import Checkpoint, Scores
from minbert.experiments.probe.verdicts import (
    HOLDS,
    ONE_SEED,
    OPEN,
    REVERSED,
    seed_noise,
    verdicts,
)
from minbert.tasks.metrics import matthews, pearson
from minbert.tasks.registry import TASKS

EXAMPLES = 500


def made_up(config: ProbeConfig, quality: dict[str, float], seeds: int = 3) -> Scores:
    """Probes that are right with a probability by method; seeds differ by a little."""
    rng = np.random.default_rng(0)
    labels = {task: rng.integers(0, 2, EXAMPLES).astype(float) for task in ("sst", "para", "sts")}
    hard = {task: rng.random(EXAMPLES) for task in labels}  # shared, so that pairing matters
    places = {
        place: None
        for figure in config.figures
        for series in series_of(config, figure)
        for probes in series.rows.values()
        for place, _ in probes
    }
    of = {}
    for seed in range(seeds):
        for place in places:
            chance = quality[place.method] + rng.normal(0, 0.004)
            records, arrays = {}, {}
            for task, own in labels.items():
                guesses = np.where(hard[task] < chance, own, 1 - own)
                records[task] = {"score": TASKS[task].metric(guesses, own)}
                arrays |= {f"{task}_predictions": guesses, f"{task}_labels": own}
            of[place, seed] = Checkpoint(place, seed, "converged", records, arrays, {})
    return Scores("converged", list(range(seeds)), of)


def a_config(figure: str) -> ProbeConfig:
    return ProbeConfig(figure=figure, chain=("sst", "para"), probe_tasks=("para", "sts"))


def words(config: ProbeConfig, scores: Scores) -> dict[tuple[str, str], str]:
    (figure,) = config.figures
    found = verdicts(contrasts_of(config, figure), scores)
    return {(one.contrast.claim, one.contrast.series.name): one.word for one in found}


def test_every_contrast_compares_what_the_paper_compares() -> None:
    three, four, five = (contrasts_of(ProbeConfig(figure=n), n) for n in "345")
    assert len(three) == 2 * 3 * (6 + 1) and len(four) == 3 + 3 + 1 and len(five) == 3 * (3 + 1)
    for contrast in (*three, *four, *five):
        assert sum(contrast.weights.values()) == 0
    assert {place for c in three for p in c.series.rows.values() for place, _ in p} == {
        Place(name, 1, "sst") for name in ("standard", "stdpp", "smart", "r3f", "r4f")
    }
    (qnli, *_) = series_of(ProbeConfig(figure="5"), "5")
    assert qnli.rows["r4f", "cycle 2"] == [(Place("r4f", 5, "sst"), "qnli")]
    falls = next(c for c in four if c.claim.startswith("standard falls from 1: sst to 4: rte"))
    assert falls.weights == {("standard", "1: sst"): 1.0, ("standard", "4: rte"): -1.0}


def test_claims_of_methods_that_are_not_run_are_left_out() -> None:
    config = ProbeConfig(figure="3", methods=("standard", "r3f"), probe_tasks=("cola",))
    assert [one.claim for one in contrasts_of(config, "3")] == ["r3f above standard"]
    assert config.links_of("r3f") == 1 and config.links_of("smart") == 0


def test_a_plain_difference_holds_its_opposite_is_reversed_and_none_cannot_be_told() -> None:
    config = a_config("3")
    same = dict.fromkeys(("standard", "stdpp", "smart", "r4f"), 0.6)
    found = words(config, made_up(config, {**same, "r3f": 0.75}))
    assert {word for (claim, _), word in found.items() if claim.startswith("r3f")} == {HOLDS}
    assert {word for (claim, _), word in found.items() if claim.startswith("r4f")} == {OPEN}
    worse = words(config, made_up(config, {**same, "r3f": 0.45}))
    assert worse["r3f above standard", MEAN] == REVERSED


def test_one_seed_gives_no_verdict() -> None:
    config = a_config("5")
    found = words(config, made_up(config, {"stdpp": 0.6, "r4f": 0.9}, seeds=1))
    assert set(found.values()) == {ONE_SEED}


def test_what_cannot_be_told_says_how_large_it_would_have_to_be() -> None:
    """A difference of that size is found about four times in five, not hardly ever or always."""
    config = ProbeConfig(
        figure="3", methods=("standard", "r3f"), chain=("sst",), probe_tasks=("para",)
    )
    contrasts = contrasts_of(config, "3")
    scores = made_up(config, {"standard": 0.6, "r3f": 0.6})
    (one,) = verdicts(contrasts, scores)
    assert one.word == OPEN and 0.005 < one.detectable < 0.3
    (far,) = verdicts(
        contrasts, made_up(config, {"standard": 0.6, "r3f": 0.6 + 3 * one.detectable})
    )
    assert far.word == HOLDS


def test_the_noise_of_seeds_has_no_effect_of_row_or_seed_in_it() -> None:
    rng = np.random.default_rng(0)
    rows, seeds, sd = 40, 30, 0.02
    noise = rng.normal(0, sd, (rows, seeds))
    effects = rng.normal(size=(rows, 1)) + rng.normal(size=(1, seeds))
    table = {("m", str(i)): own for i, own in enumerate(noise + effects)}
    found = seed_noise(table)
    assert found.freedom == 39 * 29
    assert found.variance == pytest.approx(sd**2, rel=0.1)
    with pytest.raises(ValueError, match="at least two"):
        seed_noise({("m", "0"): np.ones(3)})


def test_resampled_correlations_are_the_metrics() -> None:
    from minbert.experiments.probe.verdicts import _accuracies, _correlations, _counts

    rng = np.random.default_rng(1)
    labels, guesses = rng.integers(0, 2, 60).astype(float), rng.integers(0, 2, 60).astype(float)
    counts = _counts(60)[:5]
    assert counts.sum(axis=1).tolist() == [60] * 5
    for drawn, r, share in zip(
        counts,
        _correlations(counts, guesses, labels),
        _accuracies(counts, guesses, labels),
        strict=True,
    ):
        at = np.repeat(np.arange(60), drawn.astype(int))
        assert r == pytest.approx(matthews(guesses[at], labels[at]), abs=1e-9)
        assert r == pytest.approx(pearson(guesses[at], labels[at]), abs=1e-9)
        assert share == pytest.approx((guesses[at] == labels[at]).mean())
    assert (_correlations(counts, np.ones(60), labels) == 0).all()


def test_a_contrast_is_positive_where_the_claim_is_true() -> None:
    config = a_config("4")
    scores = made_up(config, {"standard": 0.7, "r4f": 0.7})
    last = Place("standard", 2, "para")
    for seed in scores.seeds:  # standard forgets the source by its second link
        own = scores.of[last, seed]
        own.arrays["sst_predictions"][:300] = 1 - own.arrays["sst_labels"][:300]  # type: ignore[index]
        score = TASKS["sst"].metric(own.arrays["sst_predictions"], own.arrays["sst_labels"])
        own.records["sst"]["score"] = score  # type: ignore[index]
    assert set(words(config, scores).values()) == {HOLDS}
    assert isinstance(contrasts_of(config, "4")[0], Contrast)

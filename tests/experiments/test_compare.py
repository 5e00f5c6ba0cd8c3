"""Paired comparison: p-values that mean what they say, and only of what can be compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from minbert import cli
from minbert.experiments.compare import holm, main, paired_permutation
from minbert.metrics import accuracy, pearson
from tests.helpers import TINY, save_encoder, write_course_files


def noisy(labels: np.ndarray, right: float, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return np.where(draw.random(len(labels)) < right, labels, (labels + 1) % 5)


def test_no_difference_gives_p_values_that_are_uniform() -> None:
    """Under the null 5% of tests reject at 5%: 400 of them, three binomial deviations."""
    draw = np.random.default_rng(1)
    rejected = 0
    for trial in range(400):
        labels = draw.integers(0, 5, 60)
        first, second = (noisy(labels, 0.6, 1000 * trial + side)[None] for side in (1, 2))
        rejected += paired_permutation(accuracy, first, second, labels, rounds=99) <= 0.05
    assert rejected <= 400 * 0.05 + 3 * (400 * 0.05 * 0.95) ** 0.5


def test_one_seed_of_accuracies_is_mcnemars_exact_test() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 300)
    first, second = noisy(labels, 0.7, 1), noisy(labels, 0.6, 2)
    only_first = int(((first == labels) & (second != labels)).sum())
    only_second = int(((first != labels) & (second == labels)).sum())
    exact = stats.binomtest(only_first, only_first + only_second).pvalue
    ours = paired_permutation(accuracy, first[None], second[None], labels, rounds=5000)
    assert ours == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 5000) ** 0.5 + 1e-3)


def test_a_real_difference_is_found_in_either_metric() -> None:
    draw = np.random.default_rng(0)
    labels = draw.random(400) * 5
    close, far = (labels + draw.normal(0, sd, (3, 400)) for sd in (0.5, 1.0))
    assert paired_permutation(pearson, close, far, labels, rounds=999) == pytest.approx(0.002)
    assert paired_permutation(pearson, close, close[::-1], labels, rounds=99) == 1.0


def test_seeds_that_repeat_each_other_prove_nothing_more() -> None:
    """The same predictions three times give the p-value of one seed."""
    labels = np.random.default_rng(0).integers(0, 5, 200)
    first, second = noisy(labels, 0.65, 1)[None], noisy(labels, 0.6, 2)[None]
    once = paired_permutation(accuracy, first, second, labels)
    thrice = paired_permutation(accuracy, first.repeat(3, 0), second.repeat(3, 0), labels)
    assert thrice == pytest.approx(once, abs=0.05)


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == pytest.approx([0.02])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small runs."""
    place = tmp_path_factory.mktemp("runs")
    save_encoder(place / "encoder", TINY, initializer_range=0.3)
    write_course_files(place / "data")
    flags = [
        "--weights",
        str(place / "encoder"),
        "--data_dir",
        str(place / "data"),
        "--epochs",
        "1",
    ]
    outs = [
        f"--{t}_{s}_out={place}/p/{t}-{s}.csv"
        for t in ("sst", "para", "sts")
        for s in ("dev", "test")
    ]
    for seed in ("1", "2", "3"):
        run = ["--seed", seed, "--output_dir", str(place / f"run{seed}")]
        assert cli.main([*flags, *outs, *run]) == 0
    return place


def test_runs_are_compared(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sides = ["--first", f"{runs}/run1", "--second", f"{runs}/run2"]
    assert main(sides) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| sst", "| para", "| sts"]


def test_a_run_equals_itself(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--first", f"{runs}/run1", "--second", f"{runs}/run1"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert all(row[3:] == ["+0.000", "1.0000", "1.0000 |"] for row in rows)


def test_what_cannot_be_compared_is_one_line(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = f"{runs}/run1", f"{runs}/run2"
    for argv, words in (
        (["--first", one, other, "--second", one], "give as many"),
        (["--first", one, "--second", f"{runs}/nowhere"], "not a run's manifest"),
    ):
        assert main(argv) == 2
        assert words in capsys.readouterr().err


def test_another_dev_file_is_noticed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = runs / "data" / "ids-sst-dev.csv"
    before = path.read_bytes()
    path.write_bytes(before.replace(b"0.0", b"1.0", 1))
    try:
        assert main(["--first", f"{runs}/run1", "--second", f"{runs}/run3"]) == 2
    finally:
        path.write_bytes(before)
    assert "not the file that" in capsys.readouterr().err

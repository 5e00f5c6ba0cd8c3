"""From results made by hand to tables: means, intervals and tests are those of the formulas."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from minbert.experiments.analysis.analysis import Analysis, analyse, scored
from minbert.experiments.grid.cells import Cell
from minbert.experiments.grid.experiment import GridRow
from minbert.experiments.presentation.tables import (
    as_csv,
    command_table,
    difference_table,
    over_seeds_table,
    result_tables,
    score_table,
    write,
)
from minbert.statistics.paired_tests import holm
from tests.experiments.grids import experiment, write_result
from tests.statistics.simulated import noisy

Analysed = Callable[[int], tuple[Analysis, list[Cell]]]
ROWS = (
    GridRow("plain", ("--option finetune",), {"sst": 0.525, "s/epoch": 1420}),
    GridRow("better", ("--option finetune --smart",)),
    GridRow("missing", ("--option finetune --r3f",)),
)
GRID = experiment(*ROWS, compared=[("better", "plain"), ("missing", "plain")])


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Analysed:
    """By number of seeds, each analysed once."""
    return cache(lambda seeds: _analysed(tmp_path_factory.mktemp("cells"), seeds))


def _analysed(out: Path, seeds: int) -> tuple[Analysis, list[Cell]]:
    """Two rows with results: sst right in 60% and 80%, sts at r = .8 and .9, one label unknown."""
    draw = np.random.default_rng(0)
    labels = {"sst": draw.integers(0, 5, 200).astype(float), "sts": draw.normal(size=150)}
    unknown = {task: own.copy() for task, own in labels.items()}
    unknown["sst"][0] = np.nan
    cells = [
        Cell(row.name, seed, f"{row.commands[0]} --seed {seed}", f"{row.name}{seed}")
        for seed in range(1, seeds + 1)
        for row in ROWS
    ]
    for cell in cells:
        right, noise = {"plain": (0.6, 0.75), "better": (0.8, 0.5)}.get(cell.row, (0, 0))
        if right:
            predicted = {
                "sst": noisy(labels["sst"], right, cell.seed),
                "sts": labels["sts"] + noise * draw.normal(size=150),
            }
            write_result(cell, out, predicted, unknown)
    return analyse(GRID, cells, out), cells


def test_several_seeds_have_students_interval(analysed: Analysed) -> None:
    analysis, _ = analysed(3)
    plain = analysis.rows[0]
    over, interval = scored(plain, "sst")
    assert over.mean == pytest.approx(np.mean(plain.scores("sst")))
    oracle = stats.ttest_1samp(plain.scores("sst"), 0).confidence_interval(0.95)
    assert interval == pytest.approx((oracle.low, oracle.high))
    assert plain.seconds() == [3.0, 6.0, 9.0]


def test_one_seed_has_the_interval_of_the_examples_with_a_label(analysed: Analysed) -> None:
    analysis, _ = analysed(1)
    predictions, labels = analysis.rows[0].predictions("sst", [1])
    assert predictions.shape == (1, 199)
    _, interval = scored(analysis.rows[0], "sst")
    right = int((predictions[0] == labels).sum())
    oracle = stats.binomtest(right, 199).proportion_ci(method="wilson")
    assert interval == pytest.approx((oracle.low, oracle.high))


@pytest.mark.parametrize(
    ("seeds", "tests"), [(1, ["McNemar", "Steiger"]), (2, ["permutation", "permutation"])]
)
def test_differences_are_tested_and_corrected(
    analysed: Analysed, seeds: int, tests: list[str]
) -> None:
    analysis, _ = analysed(seeds)
    found = analysis.differences
    assert [(one.first, one.task) for one in found] == [("better", "sst"), ("better", "sts")]
    assert [one.test for one in found] == tests
    assert [one.corrected for one in found] == holm([one.p_value for one in found])
    for one in found:
        assert one.p_value < 0.05 and one.verdict == ("yes" if seeds > 1 else "these models only")
        assert one.interval.low < one.value < one.interval.high
        first, second = (analysis.rows[place].scores(one.task) for place in (1, 0))
        assert one.value == pytest.approx(np.mean(first) - np.mean(second))


def test_seeds_that_differ_more_than_rows_prove_nothing(tmp_path: Path) -> None:
    """Two draws of one method: other examples would say the same of them, other seeds would not."""
    draw = np.random.default_rng(0)
    sst, sts = draw.integers(0, 5, 2000).astype(float), draw.normal(size=50)
    rights = {"plain": (0.5, 0.6, 0.7), "better": (0.55, 0.65, 0.75)}
    cells = [Cell(name, seed, "", f"{name}{seed}") for name in rights for seed in (1, 2, 3)]
    for cell in cells:
        right = rights[cell.row][cell.seed - 1]
        predicted = {"sst": noisy(sst, right, draw.integers(9999)), "sts": sts}
        write_result(cell, tmp_path, predicted, {"sst": sst, "sts": sts})
    found = analyse(GRID, cells, tmp_path).differences[0]
    assert found.p_models < 0.01 and found.p_value > 0.3
    assert found.verdict == "no" and found.interval.low < 0 < found.interval.high


def test_what_no_row_trains_is_marked_and_not_compared(tmp_path: Path) -> None:
    labels = {"sst": np.arange(50) % 5.0, "sts": np.arange(50.0)}
    others = {"sst": (labels["sst"] + 1) % 5, "sts": labels["sts"] ** 2}
    cells = [Cell(name, 1, "", name) for name in ("plain", "better")]
    for cell, predicted in zip(cells, (labels, others), strict=True):
        write_result(cell, tmp_path, predicted, labels, rrobin=None)
    analysis = analyse(GRID, cells, tmp_path)
    assert [one.task for one in analysis.differences] == ["sst"]
    sst, sts = score_table(analysis).rows[0][2:4]
    assert "†" in sts and "†" not in sst
    assert any(note.startswith("†: untrained") for note in score_table(analysis).notes)


def test_a_row_that_no_seed_changes_says_nothing_of_their_noise(tmp_path: Path) -> None:
    """A constant third row must not make the others look less noisy than they are."""
    draw = np.random.default_rng(0)
    sst, sts = draw.integers(0, 5, 500).astype(float), draw.normal(size=50)
    cells = [Cell(row.name, seed, "", f"{row.name}{seed}") for row in ROWS for seed in (1, 2, 3)]
    for cell in cells:
        own = 0 if cell.row == "missing" else draw.integers(9999)
        predicted = {"sst": noisy(sst, 0.6, own), "sts": sts}
        write_result(cell, tmp_path, predicted, {"sst": sst, "sts": sts})
    analysis = analyse(GRID, cells, tmp_path)
    sds = [np.std(row.scores("sst"), ddof=1) for row in analysis.rows]
    assert sds[2] == 0
    assert analysis.detectable[0].seed_sd == pytest.approx(np.sqrt(np.mean(np.square(sds[:2]))))


def test_rows_scored_on_other_examples_are_not_compared(tmp_path: Path) -> None:
    labels = {"sst": np.arange(50) % 5.0, "sts": np.arange(50.0)}
    cells = [Cell(name, 1, f"--{name}", name) for name in ("plain", "better")]
    write_result(cells[0], tmp_path, labels, labels)
    write_result(cells[1], tmp_path, labels, {**labels, "sst": (labels["sst"] + 1) % 5})
    analysis = analyse(GRID, cells, tmp_path)
    assert not analysis.differences
    assert "other dev examples" in " ".join(score_table(analysis).notes)


@pytest.mark.parametrize("name", ["result.json", "dev.npz"])
@pytest.mark.parametrize("bytes_", [b"", b'{"manifest": {"dev": {"sst": "x"}}}'])
def test_a_damaged_result_is_a_gap_and_the_others_are_shown(
    tmp_path: Path, name: str, bytes_: bytes
) -> None:
    labels = {"sst": np.arange(50) % 5.0, "sts": np.arange(50.0)}
    cells = [Cell(row, 1, "", row) for row in ("plain", "better")]
    for cell in cells:
        write_result(cell, tmp_path, labels, labels)
    (cells[1].folder(tmp_path) / name).write_bytes(bytes_)
    analysis = analyse(GRID, cells, tmp_path)
    assert [len(row.cells) for row in analysis.rows] == [1, 0, 0]
    assert "damaged" in str(analysis.gaps[0]) and str(cells[1].folder(tmp_path)) in str(
        analysis.gaps[0]
    )


def test_the_best_of_several_epochs_is_said_to_be_that(analysed: Analysed) -> None:
    analysis, _ = analysed(1)
    assert "best of 2 epochs" in " ".join(score_table(analysis).notes)


def test_what_could_be_seen_counts_the_noise_of_the_seeds(analysed: Analysed) -> None:
    several, _ = analysed(3)
    sst = several.detectable[0]
    sds = [np.std(row.scores("sst"), ddof=1) for row in several.rows[:2]]
    assert sst.seed_sd == pytest.approx(math.sqrt(np.mean(np.square(sds))))
    assert (sst.examples, sst.seeds) == (199, 3)
    one, _ = analysed(1)
    assert one.detectable[0].seed_sd is None
    assert "noise of the seeds unknown" in " ".join(score_table(one).notes)


def test_rows_that_predict_alike_say_nothing_of_what_could_be_seen(tmp_path: Path) -> None:
    labels = {"sst": np.arange(50) % 5.0, "sts": np.arange(50.0)}
    cells = [Cell(name, 1, f"--{name}", name) for name in ("plain", "better")]
    for cell in cells:
        write_result(cell, tmp_path, labels, labels)
    analysis = analyse(GRID, cells, tmp_path)
    assert not analysis.detectable and not analysis.differences
    assert "not tested on SST, STS" in " ".join(score_table(analysis).notes)


def test_a_task_that_not_all_rows_score_is_left_out(tmp_path: Path) -> None:
    labels = {"sst": np.arange(50) % 5.0, "sts": np.arange(50.0)}
    cells = [Cell(name, 1, f"--{name}", name) for name in ("plain", "better")]
    write_result(cells[0], tmp_path, labels, labels)
    write_result(cells[1], tmp_path, {"sst": (labels["sst"] + 1) % 5}, {"sst": labels["sst"]})
    analysis = analyse(GRID, cells, tmp_path)
    assert analysis.experiment.tasks == ("sst",)
    assert "STS: left out" in " ".join(score_table(analysis).notes)
    assert [one.task for one in analysis.differences] == ["sst"]


def test_welchs_test_stands_beside_the_one_that_decides(analysed: Analysed) -> None:
    """It is scipy's of the seeds alone, corrected like the other; with one seed there is none."""
    analysis, _ = analysed(3)
    found, (plain, better) = analysis.differences, analysis.rows[:2]
    for one in found:
        sides = better.scores(one.task), plain.scores(one.task)
        assert one.welch == pytest.approx(stats.ttest_ind(*sides, equal_var=False).pvalue)
    assert [one.welch_corrected for one in found] == holm([one.welch for one in found])
    bartlett = stats.bartlett(plain.scores("sst"), better.scores("sst")).pvalue
    assert analysis.equal_variances["sst"] == pytest.approx(bartlett)
    table = difference_table(analysis)
    assert table.header[-2:] == ["Welch's p", "Welch's p (Holm)"]
    (note,) = (note for note in table.notes if "Bartlett" in note)
    assert note.startswith("p (Holm) decides") and f"SST p = {bartlett:.4f}" in note
    one_seed, _ = analysed(1)
    assert difference_table(one_seed).rows[0][-2:] == ["–", "–"]
    assert all(math.isnan(one.welch_corrected) for one in one_seed.differences)


def test_medians_and_maxima_stand_beside_means(analysed: Analysed) -> None:
    analysis, _ = analysed(3)
    plain = analysis.rows[0]
    for cell in plain.all_cells():
        cell.manifest["epochs"][0]["epoch"], cell.manifest["epochs"][1]["epoch"] = 1, 2
        cell.manifest["best_epoch"] = 1  # type: ignore[index]
    line, better = over_seeds_table(analysis).rows
    scores = sorted(plain.scores("sst"))
    assert line[2:5] == [f"{value:.3f}" for value in (np.mean(scores), scores[1], scores[2])]
    assert line[-1] == "4"  # the mean of the first epochs' 2, 4 and 6 seconds
    assert (better[0], better[-1]) == ("better", "–")
    assert len(result_tables(analysis)) == 3 and len(result_tables(analysed(1)[0])) == 2


def test_a_row_without_results_is_in_the_table(analysed: Analysed) -> None:
    analysis, cells = analysed(2)
    table = score_table(analysis)
    assert table.header[-2:] == ["published SST", "published s/epoch"]
    assert table.rows[0][-2:] == ["0.525", "1,420"]
    assert table.rows[2][:5] == ["missing", "0", "–", "–", "–"]
    assert len(difference_table(analysis).rows) == 2
    assert [row[0] for row in command_table(cells).rows] == ["plain", "better", "missing"]


def test_the_csv_has_every_score_with_all_digits(analysed: Analysed) -> None:
    analysis, _ = analysed(2)
    rows = list(csv.DictReader(io.StringIO(as_csv(analysis))))
    assert len(rows) == 2 * 2 * 2
    mine = [float(r["score"]) for r in rows if r["row"] == "better" and r["task"] == "sts"]
    assert mine == analysis.rows[1].scores("sts")


def test_three_files_are_written(analysed: Analysed, tmp_path: Path) -> None:
    analysis, cells = analysed(1)
    text = write(analysis, cells, tmp_path, "grid")
    assert (tmp_path / "grid.md").read_text() == text
    assert (tmp_path / "grid.tex").read_text().count(r"\begin{table}") == 2
    assert (tmp_path / "grid.csv").exists()

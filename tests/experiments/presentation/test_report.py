"""The report: self-contained, complete or marked, every number and every figure in words."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from minbert.experiments.analysis import flips
from minbert.experiments.analysis.analysis import Analysis, analyse
from minbert.experiments.grid.cells import FAILURE, RESULT, Cell
from minbert.experiments.grid.experiment import SECONDS, GridRow
from minbert.experiments.presentation import opening
from minbert.experiments.presentation import section as grid_section
from minbert.experiments.presentation.prediction_plots import confusion
from minbert.reports import report
from minbert.reports.report import Section
from minbert.tasks.metrics import accuracy
from tests.experiments.grids import experiment, write_result
from tests.reports.figures import watched
from tests.statistics.simulated import noisy

HOSTILE = '<script>alert("1")</script> & <b>$x$'
ROWS = (
    GridRow("plain", ("--option finetune",), {"sst": 0.525, "sts": 0.24, SECONDS: 1420}),
    GridRow(HOSTILE, ("--option finetune --weights '<i>&`'",)),
)
GRID = experiment(*ROWS, compared=[(HOSTILE, "plain")])
Made = Callable[[int, int], tuple[Analysis, list[Cell], Path]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """By number of seeds and of runs left out, each analysed once."""
    return cache(lambda seeds, left_out: _made(tmp_path_factory.mktemp("cells"), seeds, left_out))


def _made(out: Path, seeds: int, left_out: int) -> tuple[Analysis, list[Cell], Path]:
    draw = np.random.default_rng(0)
    labels = {"sst": draw.integers(0, 5, 90).astype(float), "sts": draw.uniform(0, 5, size=70)}
    unknown = {task: own.copy() for task, own in labels.items()}
    unknown["sst"][0] = np.nan
    cells = [
        Cell(row.name, seed, f"{row.commands[0]} --seed {seed}", f"{number}-{seed}")
        for seed in range(1, seeds + 1)
        for number, row in enumerate(ROWS)
    ]
    for cell in cells[: len(cells) - left_out]:
        predicted = {
            "sst": noisy(labels["sst"], *((0.8, cell.seed) if cell.row == "plain" else (0.6, 9))),
            "sts": np.clip(labels["sts"] + draw.normal(size=70), 0, 5),
        }
        write_result(cell, out, predicted, unknown)
    return analyse(GRID, cells, out), cells, out


class Page(HTMLParser):
    """A page's tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def page(analysis: Analysis, cells: list[Cell]) -> Page:
    return page_of(grid_section.section(analysis, cells))


def page_of(section: Section) -> Page:
    return Page(report.as_html(GRID.title, [section]))


@pytest.fixture(scope="module")
def whole(made: Made) -> Section:
    """The section of two seeds' runs, all of them there; its plots take seconds."""
    return grid_section.section(*made(2, 0)[:2])


@pytest.fixture
def few_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is made for its words: the opening plot and the flips are enough."""
    monkeypatch.setattr(grid_section, "_PLOTS", ())


def test_the_page_needs_nothing_else(whole: Section) -> None:
    found = page_of(whole)
    assert not {"script", "link", "img", "image", "iframe", "object", "base"} & set(found.tags)
    assert not {"src", "srcset", "data", "action"} & {name for name, _ in found.attributes}
    links = [value for name, value in found.attributes if name in ("href", "xlink:href")]
    assert links and all(str(value).startswith("#") for value in links)
    assert "url(h" not in found.text and "@import" not in found.text


def test_every_number_of_every_table_is_there(whole: Section) -> None:
    words = "".join(page_of(whole).words.split())
    assert whole.commands is not None
    for table in (*whole.tables, whole.commands, *(t for p in whole.plots for t in p.tables)):
        for text in (*table.header, *(cell for row in table.rows for cell in row), *table.notes):
            assert "".join(text.strip("`").split()) in words


def test_every_plot_is_there_with_its_words(whole: Section) -> None:
    pictures = list(whole.pictures)
    kinds = {picture.name.split("-")[1] for picture in pictures}
    assert kinds == {"overall", "cost", "seeds", "epochs", "confusion", "values", "flips"}
    assert len({picture.name for picture in pictures}) == len(pictures)
    found = page_of(whole)
    assert found.tags.count("svg") == found.tags.count("desc") == len(pictures)
    for picture in pictures:
        assert picture.title and any(letter.isdecimal() for letter in picture.words)
        assert " ".join(picture.words.split()) in found.words


def test_names_are_never_markup(whole: Section) -> None:
    found = page_of(whole)
    assert not {"script", "b", "i"} & set(found.tags)
    assert HOSTILE in found.words


def test_the_same_results_give_the_same_files(made: Made, whole: Section, tmp_path: Path) -> None:
    analysis, cells, _ = made(2, 0)
    for name, section in (("one", whole), ("two", grid_section.section(analysis, cells))):
        report.write(tmp_path / name, "grid", GRID.title, [section])
    one, two = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*.*")
            if path.is_file()
        }
        for name in ("one", "two")
    )
    assert one == two
    assert sum(path.suffix == ".svg" for path in one) == 13


@pytest.mark.usefixtures("few_plots")
def test_a_partly_finished_grid_is_marked(made: Made, whole: Section) -> None:
    assert "ncomplete" not in page_of(whole).words.replace("INCOMPLETE", "incomplete")
    analysis, cells, out = made(2, 1)
    words = page(analysis, cells).words
    assert "Incomplete report." in words
    assert f"{HOSTILE}, seed 2: not finished" in words
    assert "INCOMPLETE: 1 of 4 runs are missing" in words
    folder = cells[-1].folder(out)
    folder.mkdir(parents=True)
    (folder / FAILURE).write_text('{"why": "no <luck>"}')
    assert "failed: no <luck>" in page(analyse(GRID, cells, out), cells).words


@pytest.mark.usefixtures("few_plots")
def test_runs_that_have_learned_nothing_are_named(made: Made, whole: Section) -> None:
    _, cells, out = made(2, 0)
    assert "degenerate" not in page_of(whole).words
    path = cells[-1].folder(out) / RESULT
    record = json.loads(path.read_text())
    record["manifest"]["degenerate"] = True
    path.write_text(json.dumps(record))
    name = f"{cells[-1].row}, seed {cells[-1].seed}"
    words = page(analyse(GRID, cells, out), cells).words
    assert "degenerate: on every task" in words and f"label ({name})" in words


def test_a_grid_without_a_result_is_a_report_too(made: Made) -> None:
    found = page(*made(1, 2)[:2])
    assert "svg" not in found.tags
    assert "INCOMPLETE: 2 of 2 runs are missing" in found.words


def test_a_confusions_sums_are_the_dev_rows(made: Made) -> None:
    for seeds in (1, 2):
        result = made(seeds, 0)[0].rows[0]
        predictions, labels = result.predictions("sst", list(result.cells))
        counts = confusion(result, "sst")
        assert counts.sum() == 89 * seeds  # one of 90 has no label
        assert counts.sum(1).tolist() == [seeds * (labels == c).sum() for c in range(5)]
        assert counts.sum(0).tolist() == [(predictions == c).sum() for c in range(5)]
        right = sum(accuracy(own, labels) for own in predictions) * 89
        assert np.trace(counts) == pytest.approx(right)


def test_flips_make_up_the_difference(made: Made) -> None:
    analysis, _, _ = made(2, 0)
    one, on_a_scale = flips.find(analysis)
    (difference,) = (d for d in analysis.differences if d.task == "sst")
    assert (one.before, one.after, one.total) == ("plain", HOSTILE, 2 * 89)
    assert (one.right - one.wrong) / one.total == pytest.approx(difference.value)
    assert one.right > 0 and one.wrong > 0
    for flip in one.gained:
        assert flip.before != flip.label == flip.after
    for flip in one.lost:
        assert flip.before == flip.label != flip.after
    for flip in on_a_scale.gained:
        assert abs(flip.before - flip.label) > abs(flip.after - flip.label)


def test_no_letters_cover_each_other_and_no_tick_repeats(made: Made) -> None:
    analysis, cells, _ = made(2, 0)
    with watched() as faults:
        grid_section.section(analysis, cells)
    assert len(faults) > 8
    mirrored = {"10 twice", "5 twice"}  # flips have percents on both sides of their middle
    for name, found in faults.items():
        assert not (set(found) - mirrored if "-flips-" in name else found), (name, found)


def test_the_page_opens_with_its_result_and_folds_what_is_no_difference(
    made: Made, whole: Section
) -> None:
    analysis, section = made(2, 0)[0], whole
    text = report.as_html(GRID.title, [section])
    best = max(analysis.rows, key=lambda row: np.mean(opening.points(row, ("sst", "sts"))))
    assert best.row.name == "plain" and "“plain” has the highest mean" in section.headline[0]
    seen = [pair for pair in analysis.differences if pair.is_seen]
    quiet = [pair for pair in analysis.differences if not pair.is_seen]
    assert seen and quiet
    assert f"Of {len(analysis.differences)} differences" in section.headline[1]
    assert f"{abs(seen[0].value):.3f} above" in section.headline[1]
    assert section.opening is not None
    assert text.index("highest mean") < text.index("grid-overall-title") < text.index("<table")
    folded = text[text.index("comparisons are not more than noise") :]
    folded = folded[: folded.index("</details>")]
    assert folded.count("<tr><td") == len(quiet) and folded.count(">no</td>") == len(quiet)


@pytest.mark.usefixtures("few_plots")
def test_rows_that_give_the_same_answers_are_not_tested(tmp_path: Path) -> None:
    rows = (GridRow("one", ("--a",)), GridRow("two", ("--b",)), GridRow("other", ("--c",)))
    pairs = [("one", "two"), ("other", "one")]
    cells = [Cell(r.name, seed, r.commands[0], f"{r.name}{seed}") for r in rows for seed in (1, 2)]
    labels = np.random.default_rng(0).integers(0, 5, 90).astype(float)
    for cell in cells:
        part = 0.4 if cell.row == "other" else 0.8
        answers = {"sst": noisy(labels, part, cell.seed), "sts": labels + cell.seed * labels**2}
        write_result(cell, tmp_path, answers, {"sst": labels, "sts": labels})
    found = analyse(experiment(*rows, compared=pairs), cells, tmp_path)
    assert [(pair.first, pair.second, pair.task) for pair in found.differences] == [
        ("other", "one", "sst")
    ]
    assert found.differences[0].corrected == found.differences[0].p_value
    assert [line.partition(",")[0] for line in found.left_out] == [
        "one − two: not tested on SST",
        "other − one: not tested on STS",
    ]
    assert "SST, STS" in found.left_out[0]
    (kept,) = found.differences
    said = grid_section.section(found, cells)
    one = dataclasses.replace(found, differences=[dataclasses.replace(kept, corrected=1.0)])
    text = report.as_html(GRID.title, [grid_section.section(one, cells)])
    assert said.headline[1].startswith("The one difference that was tested is more than noise.")
    assert "The one difference that was tested is not more than noise." in text
    assert "The one comparison is not more than noise" in text

"""The page that a run leaves: self-contained, complete, and never worth a run."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from minbert.finetune import cli
from minbert.finetune.report import curves, page, results
from minbert.training import run_folder
from tests.finetune.job.running import manifest, run, steps_logged
from tests.finetune.report.conftest import Left


class Page(HTMLParser):
    """A page's tags, attributes and words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self._text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self._text).split())


def test_the_run_says_where_its_page_is(left: Left) -> None:
    assert f"report: {Path('out', 'report.html')}" in left.said.splitlines()


def test_the_page_needs_nothing_else(left: Left) -> None:
    found = Page(left.html)
    assert not {"script", "link", "img", "image", "iframe", "object", "base"} & set(found.tags)
    assert not {"src", "srcset", "data", "action"} & {name for name, _ in found.attributes}
    links = [str(value) for name, value in found.attributes if name in ("href", "xlink:href")]
    assert all(link.startswith("#") for link in links)
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_classes_have_their_names(left: Left) -> None:
    words = Page(left.html).words
    assert "Label, predicted as negative, somewhat negative, neutral, somewhat positive" in words
    assert "Label, predicted as not a paraphrase, paraphrase: not a paraphrase as " in words
    answers = left.html.partition("SST: surest answers")[2].partition("</details>")[0]
    found = Page(f"<table>{answers}").words
    assert re.search(r"(right|wrong) (somewhat |)(negative|positive|neutral)", found)


@pytest.mark.parametrize("steps", [1, 3, 10_000])
def test_of_a_run_that_was_cut_no_epoch_is_called_the_best(left: Left, steps: int) -> None:
    kept = dict(left.outcome.manifest)
    whole = kept["epochs"][-1]["step"]
    cut = min(steps, whole)
    kept["epochs"] = [row for row in kept["epochs"] if row["step"] < cut] + [
        {**kept["epochs"][-1], "step": cut}
    ]
    kept["best_epoch"] = kept["epochs"][-1]["epoch"]
    config = dataclasses.replace(left.outcome.config, max_steps=steps)
    outcome = dataclasses.replace(left.outcome, config=config, manifest=kept)
    said = " ".join(results.headline(outcome))
    assert (f"after {cut} step" in said) == (steps < whole)
    assert ("epoch" in said) == (steps > whole)


def test_every_score_every_term_and_every_setting_is_there(left: Left) -> None:
    words, kept = Page(left.html).words, manifest(left.place / "out")
    for epoch in kept["epochs"]:
        for score in epoch["scores"].values():
            assert f"{score:.3f}" in words
        assert f"{epoch['train_seconds']:.1f}" in words
    for splits in kept["metrics"].values():
        assert all(f"{value:.3f}" in words for value in splits["dev"].values())
    terms = {name for row in steps_logged(left.place / "out") for name in row}
    assert {"adversarial", "bregman"} <= terms
    for title in ("loss with all terms", "task alone", "adversarial, b", "bregman, b", "gradient"):
        assert title in words
    for setting in ("--smart True", "--epochs 2", "--like out", "--seed 11711", "--lr 0.001"):
        assert setting in words, setting


def test_a_task_s_pictures_count_its_dev_rows(left: Left) -> None:
    for task in ("SST", "Quora"):
        title = f"{task}: labels and predictions</title>"
        (said,) = re.findall(rf"{title}\n<desc[^>]*>([^<]*)<", left.html)
        counts = re.findall(r" as ([\d, ]+)", said.partition(": ")[2])
        assert sum(int(count) for line in counts for count in line.split(", ")) == 16
    assert "STS: predicted and true</title>" in left.html


def test_examples_stand_with_their_texts_and_one_with_attention(left: Left) -> None:
    found = Page(left.html)
    for name in ("ids-sst", "quora", "sts"):
        lines = (left.place / "data" / f"{name}-dev.csv").read_text().splitlines()[1:]
        shown = [line for line in lines if line.split("\t")[1] in left.html]
        assert shown
        for line in shown:
            assert " | ".join(line.split("\t")[2:-1]) in found.words
    assert found.tags.count("mark") >= 2 * 3  # two layers, [CLS] a word [SEP] at least
    assert "[CLS]" in found.words


def test_the_same_outcome_gives_the_same_page(left: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(left.place)
    assert page.page(left.outcome) == left.html


def test_a_page_that_cannot_be_made_costs_one_warning(
    left: Left, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(left.place)
    monkeypatch.setattr(cli, "leave_report", page.leave)
    monkeypatch.setattr(run_folder, "read_log", lambda folder: [{}])
    assert run("--max_steps", "1", "--output_dir", "other") == 0
    assert capsys.readouterr().err.count("no other/report.html: ") == 1
    assert manifest(left.place / "other")["status"] == "finished"
    assert not Path("other", "report.html").exists()


def test_a_text_of_a_file_is_never_markup(
    left: Left, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hostile = '<script>alert("1")</script> & $x$'
    path = left.place / "data" / "ids-sst-dev.csv"
    header, *lines = path.read_text().splitlines()
    rows = ["\t".join([*line.split("\t")[:2], hostile, *line.split("\t")[3:]]) for line in lines]
    other = tmp_path / "dev.csv"
    other.write_text("\n".join([header, *rows]) + "\n")
    monkeypatch.chdir(left.place)
    monkeypatch.setattr(cli, "leave_report", page.leave)
    flags = ("--sst_dev", str(other), "--max_steps", "1", "--output_dir", "hostile")
    assert run(*flags) == 0
    found = Page(Path("hostile", "report.html").read_text())
    assert "script" not in found.tags
    assert hostile in found.words


def test_curves_of_a_long_log_stay_small() -> None:
    rows = [
        {
            "step": step,
            "task": "a",
            "lr": 1.0,
            "tokens": 1,
            "loss": 1 / (1 + step),
            "grad_norm": 1.0,
        }
        for step in range(5000)
    ]
    (loss, norm) = curves.by_step([{**row, "task_loss": row["loss"]} for row in rows], {"a": "A"})
    assert loss.title == "loss with all terms" and norm.title == "norm of the gradient"
    assert len(loss.body) < 40_000
    steps, (low, mean, high) = curves._binned([(row["step"], row["loss"]) for row in rows])
    assert len(steps) == 60 and (low <= mean).all() and (mean <= high).all()
    assert np.isclose(mean.mean(), np.mean([row["loss"] for row in rows]), rtol=0.01)

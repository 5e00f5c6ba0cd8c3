"""The R3F paper's Table 3 as a grid: languages as columns, their mean, halves of the dev set."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import numpy as np
import pytest

from minbert.experiments.__main__ import main
from minbert.experiments.analysis.analysis import analyse
from minbert.experiments.grid import runner
from minbert.experiments.grid.cell import run_cell
from minbert.experiments.grid.cells import plan
from minbert.experiments.grid.results import CellResult
from minbert.experiments.tables import xnli, xnli_halves
from minbert.experiments.tables.xnli import XnliConfig
from minbert.finetune import cli
from minbert.support.errors import InputError
from minbert.support.signals import StopRequest
from minbert.tasks.glue import GLUE
from tests.experiments.grids import Place, write_any_result

LABELS = GLUE["mnli"].labels


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place.make(tmp_path_factory.mktemp("xnli"))
    write_languages(made.root / "xnli", "en", "fr", "sw")
    return made


def write_languages(folder: Path, *languages: str, premises: int = 10) -> None:
    """Three hypotheses for each premise, the same examples in the same order."""
    folder.mkdir()
    for language in languages:
        lines = [
            f"premise {number} {language}\thypothesis {number} \u2028 {label}\t{label}\n"
            for number in range(premises)
            for label in LABELS
        ]
        (folder / f"dev-{language}.tsv").write_text("".join(lines))


def weights(place: Place) -> list[str]:
    return place.extra[:2]


def config(place: Place, **more: object) -> XnliConfig:
    return XnliConfig(xnli_dir=str(place.root / "xnli"), out=str(place.out), **more)  # type: ignore[arg-type]


def lines_of(path: Path) -> list[str]:
    return path.read_text().removesuffix("\n").split("\n")


def test_halves_part_premises_and_keep_every_row(place: Place, tmp_path: Path) -> None:
    assert xnli_halves.write(place.root / "xnli", tmp_path) == 3
    trains = lines_of(tmp_path / "train-en.tsv")
    for language in ("en", "fr", "sw"):
        whole = lines_of(place.root / "xnli" / f"dev-{language}.tsv")
        scored = lines_of(tmp_path / f"dev-{language}.tsv")
        assert len(scored) == len(trains) == 15
        # what is scored in a language is what does not train in English, in the same order
        rest = [line for line in whole if line.replace(f" {language}\t", " en\t") not in trains]
        assert scored == rest
    premises = [{line.split("\t")[0] for line in half} for half in (trains, scored)]
    assert len(premises[0]) == 5


@pytest.mark.parametrize(
    ("languages", "message"),
    [(("fr",), "dev-en.tsv: no such file"), (("en", "fr"), "has 29 lines, dev-en.tsv 30")],
)
def test_files_that_cannot_be_halved(
    tmp_path: Path, languages: tuple[str, ...], message: str
) -> None:
    write_languages(tmp_path / "in", *languages)
    path = tmp_path / "in" / "dev-fr.tsv"
    path.write_text("".join(f"{line}\n" for line in lines_of(path)[1:]))
    with pytest.raises(InputError, match=message):
        xnli_halves.write(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_column_for_each_language_and_their_mean(place: Place) -> None:
    table = xnli.experiment(config(place, proxy=True), weights(place))
    assert table.tasks == ("xnli-en", "xnli-en@dev_fr+dev_sw")
    assert table.beside == ("xnli-en@dev_fr", "xnli-en@dev_sw")
    published = {row.name: row.published for row in table.rows}
    assert published["R4F"] == pytest.approx(
        dict(zip(table.columns, (0.896, (0.847 + 0.727) / 2, 0.847, 0.727), strict=True))
    )
    assert not published["SMART"]
    assert any(note.startswith("--proxy: trained on half") for note in table.notes)


def test_as_published_is_table_9(place: Place) -> None:
    (place.root / "xnli" / "train-en.tsv").write_text("a\tb\tneutral\n" * 16)
    table = xnli.experiment(config(place, settings="as-published", scale="full"), weights(place))
    run = cli.parse([*shlex.split(table.rows[0].commands[0]), *weights(place)])
    assert (run.lr, run.batch_size, run.max_steps) == (3e-5, 8, 450_000)
    assert run.cross_encoder and not run.dev_only
    (place.root / "xnli" / "train-en.tsv").unlink()


def test_the_public_test_set_counts_where_it_is(place: Place, tmp_path: Path) -> None:
    write_languages(tmp_path / "both", "en", "fr")
    for language in ("en", "fr"):
        path = tmp_path / "both" / f"dev-{language}.tsv"
        (tmp_path / "both" / f"test-{language}.tsv").write_text(path.read_text())
    (tmp_path / "both" / "train-en.tsv").write_text("a\tb\tneutral\n")
    table = xnli.experiment(XnliConfig(xnli_dir=str(tmp_path / "both")), weights(place))
    assert table.columns == ("xnli-en@dev_test_en", "xnli-en@dev_test_fr")


def test_the_mean_is_that_of_the_languages_and_tested_by_example(place: Place) -> None:
    """Of 15 examples R3F has one more right than standard, in both languages."""
    config_of_it = config(place, proxy=True, rows=("standard", "R3F"))
    table = xnli.experiment(config_of_it, weights(place)).only(["standard", "R3F"])
    cells = plan(table, config_of_it.how_much, 1, weights(place))
    labels = np.arange(15) % 3.0
    for cell in cells:
        run = cli.parse(shlex.split(cell.command))
        wrong = {"standard": (6, 9), "R3F": (5, 8)}[cell.row]
        answers = [np.where(np.arange(15) < count, (labels + 1) % 3, labels) for count in wrong]
        keys = dict(zip(("xnli-en@dev_fr", "xnli-en@dev_sw"), answers, strict=True))
        dev = {"xnli-en": labels, **keys}
        write_any_result(cell, place.out, run, {key: (own, labels) for key, own in dev.items()})
    analysis = analyse(table, cells, place.out)
    (_, mean) = table.tasks
    found = {row.row.name: row.scores(mean)[0] for row in analysis.rows}
    assert found == pytest.approx({"standard": (9 + 6) / 30, "R3F": (10 + 7) / 30})
    shares, ones = analysis.rows[1].predictions(mean)
    assert shares[0].sum() == pytest.approx(8.5) and ones.tolist() == [1.0] * 15
    (pair,) = [one for one in analysis.differences if one.task == mean]
    assert pair.value == pytest.approx(1 / 15)
    assert pair.test == "permutation"


def test_a_cell_keeps_what_it_predicts_in_every_language(place: Place) -> None:
    some = config(place, proxy=True, rows=("standard",), updates=1)
    table = xnli.experiment(some, weights(place)).only(["standard"])
    (cell,) = plan(table, some.how_much, 1, weights(place))
    assert run_cell(cell, place.out, os.getppid(), StopRequest())
    result = CellResult.read(cell, place.out)
    assert result is not None
    for name in ("xnli-en", *table.beside):
        right = result.dev[f"{name}_predictions"] == result.dev[f"{name}_labels"]
        assert len(right) == 15 and right.mean() == pytest.approx(result.score(name))
        assert result.dev[f"{name}_ids"].tolist() == [str(n) for n in range(1, 16)]
    assert sorted(path.name for path in cell.folder(place.out).glob("*.npz")) == ["dev.npz"]


def test_what_is_missing_is_named(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner.Runner, "run", lambda *_: None)
    folder = ["--xnli_dir", str(place.root / "xnli"), "--out", str(place.out)]
    assert main(["xnli"]) == 2
    assert "give --xnli_dir" in capsys.readouterr().err
    assert main(["xnli", *folder, "--", *weights(place)]) == 2
    assert "train-en.tsv: no such file to train on" in capsys.readouterr().err
    assert main(["xnli", *folder, "--proxy", "--glue_dir", ".", "--", *weights(place)]) == 2
    assert "--glue_dir would do nothing here" in capsys.readouterr().err

"""GLUE's public files: read row by row, trained on, scored, and packed for its leaderboard."""

from __future__ import annotations

import functools
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from minbert.data.reading import read_split
from minbert.finetune import glue_zip
from minbert.tasks.glue import GLUE, SUBMISSION
from minbert.tasks.task import kind_of
from tests.finetune.glue_files import cells_of, header, write
from tests.finetune.job.running import complaint, go_on, make_place, manifest, run


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_place(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", GLUE)
def test_every_row_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    """Against a split at tabs alone: texts, labels, and ids where there is a column of them."""
    write(tmp_path, name, rows=40, test_rows=9)
    definition = GLUE[name].definition(name, tmp_path)
    task, labels = definition.task(), GLUE[name].labels
    for split, path in definition.files.items():
        found = read_split(task, kind_of(split), Path(path))
        rows, columns = cells_of(Path(path)), header(name, split)
        columns, rows = (columns, rows[1:]) if columns else ([*GLUE[name].columns], rows)
        assert found.rows == len(rows) == len(found.examples) and not found.bad_rows
        for number, (example, cells) in enumerate(zip(found.examples, rows, strict=True), start=1):
            row = dict(zip(columns, cells, strict=True))
            assert example.texts == tuple(row[column] for column in GLUE[name].texts)
            assert example.id == row.get(GLUE[name].id, str(number))
            if kind_of(split) == "test":
                assert example.label is None
            elif labels:
                assert example.label == labels.index(row[GLUE[name].label])
            else:
                assert example.label == float(row[GLUE[name].label])


def test_a_short_row_is_reported(tmp_path: Path) -> None:
    write(tmp_path, "qqp")
    path = tmp_path / "QQP" / "dev.tsv"
    path.write_text(path.read_text() + "12\t1\t2\tonly one question\n")
    task = GLUE["qqp"].definition("qqp", tmp_path).task()
    found = read_split(task, "dev", path)
    assert found.rows == 13 and len(found.bad_rows) == 1
    assert "4 columns, not 6" in found.bad_rows[0].what


@pytest.mark.parametrize(
    "argv",
    [
        ("--tasks", "cola", "--smart"),
        ("--tasks", "mnli", "--r3f", "--cross_encoder"),
        ("--tasks", "rte,stsb,sst", "--rrobin", "--rlayer"),
        ("--tasks", "mrpc,qqp,wnli", "--rrobin", "sqrt", "--freelb"),
        ("--tasks", "sst2,qnli", "--rrobin", "--option", "pretrain"),
    ],
)
def test_a_run(place: Path, argv: tuple[str, ...]) -> None:
    """Alone, together, and beside the course's; the manifest has every score of every dev file."""
    names = argv[1].split(",")
    for name in names:
        if name in GLUE:
            write(place / "glue", name, test_rows=5)
    option = () if "--option" in argv else ("--option", "finetune")
    assert run(*option, *argv, "--glue_dir", "glue", "--epochs", "1") == 0
    metrics = manifest()["metrics"]
    for name in names:
        if name in GLUE:
            splits = {"dev"} | ({"dev_mismatched"} if name == "mnli" else set())
            assert metrics[name].keys() == splits
            assert len(metrics[name]["dev"]) == len(GLUE[name].metric)


def test_a_finished_run_is_found_again_and_repeated_without_the_folder(place: Path) -> None:
    write(place / "glue", "rte")
    argv = ("--option", "finetune", "--tasks", "rte", "--glue_dir", "glue", "--epochs", "1")
    assert run(*argv) == 0
    first = manifest()
    go_on(*argv)
    assert manifest()["dev"] == first["dev"]
    (place / "out").rename(place / "before")
    assert run("--like", "before", "--epochs", "1") == 0
    assert manifest()["dev"] == first["dev"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--tasks", "rte"), "--tasks rte: give --glue_dir"),
        (("--tasks", "rte", "--glue_dir", "nowhere"), "--glue_dir nowhere: no such folder"),
        (("--tasks", "rte", "--glue_dir", "data"), "dev of rte: no such file"),
        (("--tasks", "sst", "--glue_dir", "data"), "a task of GLUE's, or xnli-en, in --tasks"),
        (("--tasks", "sst", "--glue_zip", "a.zip"), "one of GLUE's tasks in --tasks"),
    ],
)
def test_refusals(
    place: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], words: str
) -> None:
    assert run("--option", "finetune", *argv) == 2
    assert words in complaint(capsys)


def test_tasks_that_share_examples_are_said(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seven of SST-2's dev sentences stand in the training set of sst, in other letters."""
    write(place / "glue", "sst2", rows=20)
    texts = [cells[0] for cells in cells_of(place / "glue" / "SST-2" / "dev.tsv")[1:8]]
    train = place / "data" / "ids-sst-train.csv"
    lines = train.read_text().splitlines()
    columns = lines[0].split("\t")
    for number, text in enumerate(texts):
        cells = dict(zip(columns, lines[1].split("\t"), strict=True))
        cells |= {"id": f"new{number}", "sentence": text.strip('" ').upper() + " !"}
        lines.append("\t".join(cells[column] for column in columns))
    train.write_text("\n".join(lines) + "\n")
    argv = ("--tasks", "sst,sst2", "--rrobin", "--glue_dir", "glue", "--epochs", "1")
    assert run("--option", "finetune", *argv) == 0
    said = capsys.readouterr().err
    assert f"{len(set(texts))} of its" in said and "training set of sst too" in said


# ----------------------------------------------------------------------------- the zip


def test_a_zip_of_two_runs(place: Path) -> None:
    """The second run fills its own files in, and the first one's stay."""
    for name in ("wnli", "rte"):
        write(place / "glue", name, test_rows=-1)
    argv = ("--option", "finetune", "--glue_dir", "glue", "--epochs", "1", "--glue_zip", "s.zip")
    assert run(*argv, "--tasks", "wnli", "--glue_fill") == 0
    first = glue_zip._members(Path("s.zip"))
    assert not list(glue_zip.complaints(Path("s.zip")))
    predicted = Path("predictions/finetune-wnli-test-out.csv").read_text().splitlines()[1:]
    expected = [line.split(" , ")[1].strip() for line in predicted]
    assert [line.split("\t")[1] for line in first["WNLI.tsv"].splitlines()[1:]] == expected
    assert set(first["RTE.tsv"].splitlines()[1:]) == {f"{i}\tentailment" for i in range(3000)}
    assert run(*argv, "--tasks", "rte") == 0
    both = glue_zip._members(Path("s.zip"))
    assert both.keys() == SUBMISSION.keys() and not list(glue_zip.complaints(Path("s.zip")))
    assert {n for n in both if both[n] != first[n]} <= {"RTE.tsv"}


def test_a_task_that_was_not_trained_is_refused_by_name(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place / "glue", "wnli", test_rows=-1)
    argv = ("--option", "finetune", "--tasks", "wnli", "--glue_dir", "glue")
    assert run(*argv, "--glue_zip", "s.zip") == 2
    assert "CoLA.tsv needs cola in --tasks" in complaint(capsys)
    assert not Path("s.zip").exists() and not Path("out/log.jsonl").exists()


def test_test_files_of_another_length_are_refused_before_training(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place / "glue", "wnli", test_rows=7)
    argv = ("--option", "finetune", "--tasks", "wnli", "--glue_dir", "glue", "--glue_fill")
    assert run(*argv, "--glue_zip", "s.zip") == 2
    assert "the rows 0 to 145" in complaint(capsys)


@functools.cache
def commonest() -> dict[str, str]:
    """All files of the leaderboard, each with its commonest label."""
    return {n: glue_zip._table([due.commonest] * due.rows) for n, due in SUBMISSION.items()}


def whole_zip(path: Path, **changed: str | None) -> Path:
    """A zip that the leaderboard takes, with other texts for some of its files."""
    members: dict[str, str | None] = {**commonest()}
    members |= {name.replace("_", "-") + ".tsv": text for name, text in changed.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, text in members.items():
            if text is not None:
                file.writestr(name, text)
    return path


WNLI = glue_zip._table(["0"] * 146)
WRONG = {
    "missing": (None, "missing"),
    "one row less": ("".join(WNLI.splitlines(keepends=True)[:-1]), "has 145 rows, not 146"),
    "one row more": (WNLI + "146\t0\n", "has 147 rows, not 146"),
    "another header": (WNLI.replace("index\t", "id\t"), "its header is"),
    "no header": (WNLI.partition("\n")[2], "its header is"),
    "another label": (WNLI.replace("7\t0\n", "7\tyes\n", 1), "rows 7"),
    "another order": (WNLI.replace("\n3\t0\n4\t0\n", "\n4\t0\n3\t0\n"), "rows 3, 4"),
    "spaces for tabs": (WNLI.replace("\t", " "), "rows 0, 1"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_the_validator(tmp_path: Path, kind: str) -> None:
    text, words = WRONG[kind]
    found = list(glue_zip.complaints(whole_zip(tmp_path / "s.zip", WNLI=text)))
    assert any(line.startswith("WNLI.tsv: ") and words in line for line in found), found


@pytest.mark.parametrize("value", ["2.5", "5.001", "-0.100", "nan", "2,500", "1e0.000"])
def test_similarities_have_three_decimals(tmp_path: Path, value: str) -> None:
    rows = ["2.500"] * 1379
    rows[4] = value
    found = list(glue_zip.complaints(whole_zip(tmp_path / "b.zip", STS_B=glue_zip._table(rows))))
    assert len(found) == 1 and "rows 4" in found[0]


def test_a_whole_zip_has_nothing_to_complain_of(tmp_path: Path) -> None:
    assert not list(glue_zip.complaints(whole_zip(tmp_path / "a.zip")))
    rows = glue_zip._table(["2.500"] * 1379)
    assert not list(glue_zip.complaints(whole_zip(tmp_path / "b.zip", STS_B=rows)))


def test_what_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "s.zip").write_text("no zip")
    assert "is no zip" in "".join(glue_zip.complaints(tmp_path / "s.zip"))
    assert "is no zip" in "".join(glue_zip.complaints(tmp_path / "absent.zip"))
    more = whole_zip(tmp_path / "more.zip", EXTRA="index\tprediction\n")
    assert list(glue_zip.complaints(more)) == ["EXTRA.tsv: no file of GLUE"]


# ----------------------------------------------------------------------------- metrics


def test_metrics_are_the_libraries() -> None:
    from scipy import stats
    from sklearn import metrics as theirs

    rng = np.random.default_rng(0)
    for _ in range(20):
        labels, guesses = rng.integers(0, 2, (2, 30))
        task = GLUE["mrpc"].definition("mrpc", Path()).task()
        assert task.metrics[0].score(guesses, labels) == theirs.accuracy_score(labels, guesses)
        assert task.metrics[1].score(guesses, labels) == theirs.f1_score(labels, guesses)
        cola = GLUE["cola"].definition("cola", Path()).task()
        assert cola.metric(guesses, labels) == theirs.matthews_corrcoef(labels, guesses)
        numbers, scores = rng.normal(size=(2, 30)).round(1)
        stsb = GLUE["stsb"].definition("stsb", Path()).task()
        found = [metric.score(numbers, scores) for metric in stsb.metrics]
        expected = [
            stats.pearsonr(numbers, scores).statistic,
            stats.spearmanr(numbers, scores).statistic,
        ]
        assert found == pytest.approx(expected)


def test_constant_predictions_score_zero() -> None:
    labels, same = np.array([0, 1, 1, 0]), np.zeros(4)
    cola = GLUE["cola"].definition("cola", Path()).task()
    mrpc = GLUE["mrpc"].definition("mrpc", Path()).task()
    stsb = GLUE["stsb"].definition("stsb", Path()).task()
    assert cola.metric(same, labels) == mrpc.metrics[1].score(same, labels) == 0
    assert [metric.score(same, labels) for metric in stsb.metrics] == [0, 0]


def test_definitions_go_through_json(tmp_path: Path) -> None:
    from minbert.tasks.task_file import read

    for name, entry in GLUE.items():
        definition = entry.definition(name, tmp_path)
        assert read(definition.as_json()) == definition
        assert json.loads(definition.as_json())["name"] == name


def test_a_kept_file_that_the_leaderboard_would_refuse_is_named_before_training(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place / "glue", "wnli", test_rows=-1)
    whole_zip(place / "s.zip", RTE="index\tprediction\n0\tentailment\n")
    argv = ("--option", "finetune", "--tasks", "wnli", "--glue_dir", "glue")
    assert run(*argv, "--glue_zip", "s.zip") == 2
    assert "RTE.tsv has 1 rows, not 3000" in complaint(capsys)
    assert not Path("out/log.jsonl").exists()


def test_like_reads_the_folder_that_is_typed_now(place: Path) -> None:
    write(place / "glue", "rte")
    write(place / "other", "rte", seed=1)
    argv = ("--option", "finetune", "--tasks", "rte", "--glue_dir", "glue", "--epochs", "1")
    assert run(*argv) == 0
    (place / "out").rename(place / "before")
    assert run("--like", "before", "--glue_dir", "other") == 0
    assert manifest()["sha256"]["rte_train"] != manifest(Path("before"))["sha256"]["rte_train"]

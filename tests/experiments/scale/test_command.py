"""The scale study: what grows and what stays, a file's texts, its files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from minbert.data.reading import read_split
from minbert.experiments.__main__ import main
from minbert.experiments.scale import data, report
from minbert.experiments.scale.report import ScaleRow
from minbert.support.errors import RunError
from minbert.tasks.registry import TASKS
from tests.helpers import TINY, save_encoder, write_course_files


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoder and data."""
    folder = tmp_path_factory.mktemp("scale")
    save_encoder(folder / "encoder", TINY)
    write_course_files(folder / "data")
    return folder


def flags(place: Path, *more: str) -> list[str]:
    where = ["--weights", f"{place}/encoder", "--data_dir", f"{place}/data", "--device", "cpu"]
    return ["scale", *where, "--rounds", "2", *more]


@pytest.mark.usefixtures("forked_ranks")
def test_from_flags_to_table_and_files(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = {name: place / f"all.{name}" for name in ("json", "csv", "svg")}
    named = [f"--json={outputs['json']}", f"--csv={outputs['csv']}", f"--plot={outputs['svg']}"]
    values = ["--rows", "40", "20", "--lengths", "8", "64", "--layers", "1", "3"]
    assert main(flags(place, *values, "--batch_sizes", "2", "8", "--ranks", "1", "2", *named)) == 0
    printed = capsys.readouterr().out
    assert "| pairs of a file | 20 |" in printed and "100,000,000 pairs" in printed
    rows = json.loads(outputs["json"].read_text())["rows"]
    expected = {"rows": [20, 40], "lengths": [8, 64], "layers": [1, 3], "batch_sizes": [2, 8]}
    expected["ranks"] = [1, 2]
    assert [(row["axis"], row["value"]) for row in rows] == [
        (axis, value) for axis, values in expected.items() for value in values
    ]
    for row in rows:
        assert 0 < row["low"] <= row["seconds"] <= row["high"]
    with outputs["csv"].open(newline="") as stream:
        assert [row["value"] for row in csv.DictReader(stream)] == [str(r["value"]) for r in rows]
    svg = outputs["svg"].read_text()
    assert "tokens a text" in svg and "<dc:date>" not in svg
    assert main(flags(place, "--axes", "layers", "--layers", "2", *named)) == 0  # over its own


@pytest.mark.slow
def test_only_what_is_asked_for_grows(place: Path) -> None:
    """Operations: in proportion to pairs and layers, with a square term in the length."""
    found = place / "steps.json"
    axes = ["--axes", "lengths", "layers", "batch_sizes", "--batch_size", "4", "--length", "16"]
    values = ["--lengths", "8", "16", "32", "--layers", "1", "2", "3", "--batch_sizes", "4", "8"]
    assert main(flags(place, *axes, *values, f"--json={found}")) == 0
    rows = {(r["axis"], r["value"]): r for r in json.loads(found.read_text())["rows"]}
    flops = {key: row["flops"] for key, row in rows.items()}
    one, two, three = (flops["layers", n] for n in (1, 2, 3))
    assert one < two and two - one == three - two
    assert flops["batch_sizes", 8] == 2 * flops["batch_sizes", 4]
    assert flops["layers", TINY.num_hidden_layers] == flops["lengths", 16]
    assert flops["lengths", 16] == flops["batch_sizes", 4]
    lengths = [flops["lengths", n] for n in (8, 16, 32)]
    assert lengths[2] - lengths[1] > 2 * (lengths[1] - lengths[0])
    assert rows["lengths", 32]["memory"] > rows["lengths", 8]["memory"]


def test_a_file_of_many_pairs_has_texts_of_its_own(place: Path) -> None:
    path = place / "many.csv"
    data._write(path, place / "data" / "quora-train.csv", 60)
    split = read_split(TASKS["para"], "train", path, strict=True)
    source = read_split(TASKS["para"], "train", place / "data" / "quora-train.csv").examples
    assert len(split.examples) == 60 and len({e.id for e in split.examples}) == 60
    assert [e.texts for e in split.examples[: len(source)]] == [e.texts for e in source]
    for number, example in enumerate(split.examples):
        original = source[number % len(source)]
        assert [sorted(t.split()) for t in example.texts] == [
            sorted(t.split()) for t in original.texts
        ]


def test_a_process_that_fails_is_named(place: Path) -> None:
    with pytest.raises(RunError, match=r"reading 5 pairs ended with exit code 1: .*config\.json"):
        data.measured(place / "data" / "quora-train.csv", str(place / "nowhere"), 5)


def test_exponent_and_plan_by_hand() -> None:
    def row(axis: str, value: int, seconds: float, memory: int) -> ScaleRow:
        return ScaleRow(axis, value, seconds, seconds, seconds, memory, None)

    rows = [row("rows", 1000, 1.0, 10**6), row("rows", 4000, 16.0, 2 * 10**6)]
    rows += [row("batch_sizes", 1, 1.0, 1), row("batch_sizes", 100, 5.0, 1)]
    table = report.table(rows)
    assert [line[3] for line in table.rows] == ["–", "2.00", "–", "0.35"]
    # 16 s for 4,000 pairs, a megabyte for 3,000; 5 s for a batch of 100
    assert table.notes[-1].endswith(
        "111.1 h and 33 GB (333 bytes a pair) to read and encode, 57.9 days an epoch in batches of "
        "100."
    )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--lengths", "4"], "--lengths 4: must be whole numbers, 5 or more"),
        (["--rows", "0"], "--rows 0: must be whole numbers, 1 or more"),
        (["--axes", "heads"], "invalid choice"),
        (["--csv", "out.txt"], "must end in .csv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    assert main(flags(place, *more)) == 2
    captured = capsys.readouterr()
    assert words in captured.err and not captured.out


@pytest.mark.slow
def test_memory_hardly_grows_with_the_pairs_and_a_large_parent_does_not_hide_it(
    place: Path,
) -> None:
    """A process on Linux begins at its parent's peak, by one of the counts."""
    ballast = b"x" * (data.peak() + 2**28)
    source = place / "data" / "quora-train.csv"
    (_, few), (_, many) = (
        data.measured(source, str(place / "encoder"), n) for n in (8_000, 40_000)
    )
    del ballast
    assert few > 2**20
    assert many - few < 800 * 32_000  # as objects in memory they take 1,300 each


def test_an_axis_named_twice_is_measured_once(place: Path) -> None:
    found = place / "twice.json"
    assert main(flags(place, "--axes", "layers", "layers", "--layers", "1", f"--json={found}")) == 0
    assert len(json.loads(found.read_text())["rows"]) == 1

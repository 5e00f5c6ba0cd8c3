"""The command from flags to table and files; what cannot be is one line and exit code 2."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from minbert.experiments.__main__ import main
from minbert.experiments.cost import command, plots, report
from minbert.experiments.cost.config import CostConfig
from minbert.experiments.cost.methods import METHODS
from minbert.experiments.measuring.ledger import Count
from minbert.experiments.measuring.outputs import as_csv, columns
from minbert.finetune.config import RunConfig
from tests.helpers import TINY, save_encoder, write_course_files

NAMED = {method.name: method for method in METHODS}
FEW = tuple(NAMED[name] for name in ("standard", "R4F, independent"))
MORE = (*FEW, NAMED["SMART Bregman, off"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoder and data."""
    folder = tmp_path_factory.mktemp("cost")
    save_encoder(folder / "encoder", TINY, num_hidden_layers=1)
    write_course_files(folder / "data")
    return folder


@pytest.fixture
def few_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """And memory, which takes a second each, is not measured."""
    monkeypatch.setattr(command, "METHODS", FEW)
    monkeypatch.setattr(command, "peak_of_first_steps", lambda *_: 1)


@pytest.fixture
def one_method(few_methods: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "METHODS", FEW[:1])


def flags(place: Path, *more: str, task: str = "para") -> list[str]:
    where = ["--weights", f"{place}/encoder", "--data_dir", f"{place}/data"]
    size = ["--batch_size", "4", "--device", "cpu", "--rounds", "2"]
    return ["cost", "--task", task, *where, *size, *more]


def without_data(argv: list[str]) -> list[str]:
    where = argv.index("--data_dir")
    return [*argv[:where], *argv[where + 2 :]]


def printed(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


def test_from_flags_to_table_and_files(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "METHODS", MORE)
    outputs = {name: place / f"all.{name}" for name in ("json", "csv", "svg")}
    named = [f"--json={outputs['json']}", f"--csv={outputs['csv']}", f"--plot={outputs['svg']}"]
    assert main(flags(place, *named)) == 0
    table = {cells[0]: cells[1:] for cells in printed(capsys)}
    assert list(table) == [method.name for method in MORE]
    expected = ["1 + 1", "1 + 1", "3.00", "3", "1.00 (1.00 to 1.00)", "1.00"]
    assert table["standard"][:-2] == expected
    for cells in table.values():
        assert all(re.fullmatch(r"1 / \d+\.\d\d / \d+\.\d\d", parts) for parts in cells[-2:])
    assert table["SMART Bregman, off"][:4] == ["3 + 2", "–", "7.00", "–"]
    assert table["R4F, independent"][:4] == ["2 + 2", "2 + 1", "6.01", "4"]

    ledger = json.loads(outputs["json"].read_text())
    assert (ledger["task"], ledger["examples"], ledger["texts"]) == ("para", 4, 8)
    assert ledger["real_tokens"] <= ledger["texts"] * ledger["tokens"]
    with outputs["csv"].open(newline="") as stream:
        read = list(csv.DictReader(stream))
    for row, same in zip(ledger["methods"], read, strict=True):
        assert list(row) == list(same) == list(columns(report.CostRow))
        texts = [text.removeprefix("'") for text in same.values()]  # a cell is no formula
        assert [("" if v is None else str(v)) for v in row.values()] == texts
        assert 0 < row["seconds_low"] <= row["seconds"] <= row["seconds_high"]
        assert row["memory_bytes"] >= ledger["methods"][0]["memory_bytes"]
    picture = outputs["svg"].read_text()
    assert picture.startswith("<?xml")
    assert "SMART Bregman, off" in picture.replace("<!-- ", "").replace(" -->", "")


@pytest.mark.slow  # tests/experiments/measuring/test_trial.py has a smaller one
def test_pieces_of_a_batch_hold_less_memory(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one method named, beside standard, and a batch that is no multiple of 4."""
    path = place / "pieces.json"
    argv = without_data(flags(place, "--length", "30", "--methods", "SMART both, off"))
    assert main([*argv, "--batch_size", "30", "--json", str(path)]) == 0
    standard, smart = json.loads(path.read_text())["methods"]
    assert (standard["method"], smart["method"]) == ("standard", "SMART both, off")
    for row in (standard, smart):
        held = [row[f"{part}memory_bytes"] for part in ("", "half_", "quarter_")]
        assert held[0] > 1.2 * held[1] > 1.2 * held[2] > 0.2 * held[0]
    cells = printed(capsys)[1]
    parts = [smart[f"{part}_memory_bytes"] / smart["memory_bytes"] for part in ("half", "quarter")]
    assert cells[-2] == f"1 / {parts[0]:.2f} / {parts[1]:.2f}"
    parts = [smart[f"{part}_wall_ratio"] for part in ("half", "quarter")]
    assert cells[-1] == f"1 / {parts[0]:.2f} / {parts[1]:.2f}"


@pytest.mark.parametrize(("size", "pieces"), [(32, (16, 8)), (5, (3, 2)), (1, (1, 1))])
def test_a_method_is_cut_in_halves_and_quarters(size: int, pieces: tuple[int, int]) -> None:
    cut = NAMED["FreeLB, K = 2"].cut(size)
    sizes = [method.settings["micro_batch_size"] for method in cut]
    assert tuple(sizes) == pieces
    assert all(method.settings["freelb_steps"] == 2 for method in cut)


@pytest.mark.usefixtures("one_method")
def test_random_ids_have_the_length_asked_for(place: Path) -> None:
    argv = without_data(flags(place, "--length", "9", "--json", f"{place}/random.json"))
    assert main(argv) == 0
    ledger = json.loads((place / "random.json").read_text())
    assert ledger["tokens"] == 9
    assert ledger["real_tokens"] == 9 * ledger["texts"]


@pytest.mark.usefixtures("few_methods")
@pytest.mark.parametrize(
    ("task", "more", "texts", "methods"),
    [
        ("sst", [], 4, 2),
        ("sts", [], 8, 1),  # R4F: a cosine has nothing to normalise
        ("sts", ["--rlayer"], 8, 2),
        ("para", ["--cross_encoder"], 4, 2),
    ],
)
def test_tasks_and_heads(
    place: Path, capfd: pytest.CaptureFixture[str], task: str, more: list[str], texts: int, methods
) -> None:
    assert main(flags(place, *more, "--json", f"{place}/{task}.json", task=task)) == 0
    ledger = json.loads((place / f"{task}.json").read_text())
    assert ledger["texts"] == texts
    assert len(ledger["methods"]) == methods
    assert ("R4F, independent is left out" in capfd.readouterr().err) == (methods == 1)


@pytest.mark.slow
def test_bf16_is_counted_with_the_branches_that_it_needs(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With shared masks R3F's clean branch is then a pass of its own; else it serves in bf16."""
    methods = (NAMED["standard"], NAMED["R3F, shared"], NAMED["R3F, independent"])
    monkeypatch.setattr(command, "METHODS", methods)
    monkeypatch.setattr(command, "peak_of_first_steps", lambda *_: 1)
    found = {}
    for precision in ("fp32", "bf16"):
        path = place / f"{precision}.json"
        assert main(flags(place, "--precision", precision, "--json", str(path))) == 0
        ledger = json.loads(path.read_text())
        assert ledger["precision"] == precision
        found[precision] = [method["forward"] for method in ledger["methods"][1:]]
    assert found == {"fp32": [2, 2], "bf16": [3, 2]}


@pytest.mark.usefixtures("few_methods")
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--task", "news"], "invalid choice: 'news'"),
        (["--length", "4"], "--length 4: must be 5 or more"),
        (["--length", "9"], "--data_dir would do nothing here"),
        (["--rounds", "0"], "--rounds 0: must be 1 or more"),
        (["--batch_size", "99"], "16 usable rows among the first 99; lower --batch_size"),
        (["--task", "sst", "--rlayer"], "--rlayer would do nothing here"),
        (["--weights", "/nowhere"], "--weights /nowhere: no such folder"),
        (["--plot", "cost.pdf"], "must end in .svg or .png"),
        (["--json", "cost.csv"], "must end in .json"),
        (["--json", "FOLDER/encoder/vocab.txt/cost.json"], "cannot be written"),
        (["--csv", "FOLDER/data/sts-train.csv"], "holds something else"),
        (["--json", "FOLDER/encoder/config.json"], "holds something else"),
        (["--methods", "SMART"], "invalid choice: 'SMART'"),
        (["--flops"], "unrecognized arguments: --flops"),
    ],
)
def test_what_cannot_be_is_one_line(
    place: Path, capfd: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    before = (place / "data" / "sts-train.csv").read_bytes()
    assert main([*flags(place), *(word.replace("FOLDER", str(place)) for word in more)]) == 2
    out, err = capfd.readouterr()
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (out, len(errors)) == ("", 1)
    assert words in errors[0]
    assert (place / "data" / "sts-train.csv").read_bytes() == before


def test_a_pipe_is_not_waited_for(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = place / "pipe.json"
    os.mkfifo(path)
    assert main([*flags(place), "--json", str(path)]) == 2
    assert "holds something else" in capfd.readouterr().err


def test_more_tokens_than_positions(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*without_data(flags(place)), "--length", "33"]) == 2
    assert "--length 33: the encoder has 32 positions" in capfd.readouterr().err


@pytest.mark.usefixtures("one_method")
def test_an_earlier_ledger_is_replaced(place: Path) -> None:
    outputs = ["--json", "x.json", "--csv", "x.csv", "--plot", "x.png"]
    outputs = [word.replace("x.", f"{place}/twice.") for word in outputs]
    for name in ("json", "csv", "png"):
        mark = ",".join(columns(report.CostRow)) if name == "csv" else report.ABOUT
        (place / f"twice.{name}").write_text(mark)
    assert main(flags(place, *outputs)) == 0
    assert (place / "twice.png").read_bytes().startswith(b"\x89PNG")


def test_shared_flags_are_the_main_jobs() -> None:
    ours, theirs = (
        {entry.name: entry for entry in dataclasses.fields(kind)}
        for kind in (CostConfig, RunConfig)
    )
    shared = ours.keys() & theirs.keys()
    assert shared == {
        *("batch_size", "data_dir", "weights", "cross_encoder", "rlayer", "device", "precision")
    }
    for name in shared - {"precision"}:  # which all methods share here
        assert ours[name].default == theirs[name].default
        assert ours[name].metadata["help"] == theirs[name].metadata["help"]


# ------------------------------------------------------------------------------------- the report


def rows(memory: dict[str, int] | None = None, **seconds: list[float]) -> list[report.CostRow]:
    memory = memory or {}
    times = {NAMED[name].name: own for name, own in zip(NAMED, seconds.values(), strict=False)}
    count = Count(1.0, 1.0, 300, 3.0)
    cuts = {name: NAMED[name].cut(8) for name in times}
    for name, (half, quarter) in cuts.items():
        times |= {
            half.name: [2 * t for t in times[name]],
            quarter.name: [3 * t for t in times[name]],
        }
    return [report.make_row(NAMED[name], count, times, memory, own) for name, own in cuts.items()]


def test_a_ratio_is_taken_within_a_round() -> None:
    """A machine that is twice as slow in every other round leaves the ratio as it is."""
    speed = [1.0, 2.0, 1.0, 2.0, 4.0]
    _, row = rows(plain=speed, other=[3 * factor for factor in speed])
    assert (row.wall_ratio_low, row.wall_ratio, row.wall_ratio_high) == (3.0, 3.0, 3.0)
    assert row.seconds == 6.0


def test_memory_that_is_not_known_is_left_out(tmp_path: Path) -> None:
    found = rows(plain=[1.0], other=[2.0])
    assert "| 2.00 (2.00 to 2.00) | – | – | 1 / 2.00 / 3.00 |\n" in report.table(found).markdown()
    assert as_csv(found, report.CostRow).splitlines()[1].endswith(",,,,2.0,3.0")
    plots.plot(found, tmp_path / "cost.svg")
    picture = (tmp_path / "cost.svg").read_text()
    assert "wall time" in picture
    assert "peak memory" not in picture


def test_one_ledger_gives_one_picture(tmp_path: Path) -> None:
    found: list[Any] = rows(plain=[1.0], other=[2.0])
    for name in ("a.svg", "b.svg", "a.png", "b.png"):
        plots.plot(found, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

"""The command: files written whole, one line a file, and one line where it is misused."""

from __future__ import annotations

from pathlib import Path

import pytest

from minbert.sample import __main__ as command
from minbert.sample.tables import SPLITS, TASKS

SMALL = tuple(task._replace(rows=(6, 3, 3)) for task in TASKS)
NAMES = [f"{task.stem}-{split}.csv" for task in TASKS for split in SPLITS]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "TASKS", SMALL)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_are_written_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--out", str(tmp_path / "new" / "folder")]) == 0
    assert sorted(contents(tmp_path / "new" / "folder")) == sorted(NAMES)
    rows = [
        f"{t.stem}-{s}.csv: {n} rows" for t in SMALL for s, n in zip(SPLITS, t.rows, strict=True)
    ]
    assert capsys.readouterr().out.splitlines() == rows


def test_seed_fixes_every_byte(tmp_path: Path) -> None:
    for folder, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        command.main(["--out", str(tmp_path / folder), "--seed", seed])
    first, again, changed = (contents(tmp_path / folder) for folder in "abc")
    assert first == again
    assert all(first[name] != changed[name] for name in NAMES)


def test_check_prints_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tasks = tuple(task._replace(rows=(40, 20, 20)) for task in TASKS if "cfimdb" not in task.stem)
    monkeypatch.setattr(command, "TASKS", tasks)
    assert command.main(["--check"]) == 0
    out = capsys.readouterr().out
    assert out.count("ceiling: ") == 3 and out.startswith("ids-sst\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argv",
    [["--seed", "x"], ["--see", "3"], ["extra"], ["--out", __file__]],
    ids=["not a number", "abbreviated", "positional", "not a folder"],
)
def test_bad_usage_exits_2_with_one_line(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        command.main(argv)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1

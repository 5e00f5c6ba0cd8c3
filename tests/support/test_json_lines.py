"""Logs of JSON lines: readable after each write, and cut back wherever a kill ended them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from minbert.support.durable_files import JsonLines


def rows(path: Path) -> list[object]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_log_is_readable_after_each_write(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "new" / "log.jsonl")
    log.write([{"step": 1}, {"step": 2}])
    assert rows(log.path) == [{"step": 1}, {"step": 2}]
    log.write([{"step": 3}])
    assert rows(log.path) == [{"step": 1}, {"step": 2}, {"step": 3}]
    log.close()


def test_log_is_continued_not_overwritten(tmp_path: Path) -> None:
    for step in (1, 2):
        log = JsonLines(tmp_path / "log.jsonl")
        log.write([{"step": step}])
        log.close()
    assert rows(tmp_path / "log.jsonl") == [{"step": 1}, {"step": 2}]


def test_cut_before_drops_later_steps_and_writing_goes_on(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    log.write({"step": step, "text": "é\u2028"} for step in range(6))
    log.cut_before(3)
    log.write([{"step": 3, "again": True}])
    log.close()
    kept = [{"step": step, "text": "é\u2028"} for step in range(3)]
    assert rows_by_newline(log.path) == [*kept, {"step": 3, "again": True}]


def rows_by_newline(path: Path) -> list[object]:
    """The rows of a log whose texts may hold other characters that end a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.mark.parametrize("kept", range(len('{"step": 1, "loss": 0.25}\n')))
def test_cut_before_drops_a_torn_last_line(tmp_path: Path, kept: int) -> None:
    """Wherever a kill cut the last line, every line of the continued log can be read."""
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 0}\n' + '{"step": 1, "loss": 0.25}\n'[:kept])
    log = JsonLines(path)
    log.cut_before(9)
    log.write([{"step": 9}])
    log.close()
    found = rows(path)
    assert found[0] == {"step": 0} and found[-1] == {"step": 9}
    assert found[1:-1] in ([], [{"step": 1, "loss": 0.25}])


def test_cut_before_of_an_empty_log(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    log.cut_before(0)
    log.close()
    assert log.path.read_text() == ""


@pytest.mark.parametrize("odd", ["[" * 10**5, "9" * 5000, "[1]", '{"step": "x"}', '{"step": null}'])
def test_cut_before_drops_lines_that_are_no_rows(tmp_path: Path, odd: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(f'{{"step": 0}}\n{odd}\n{{"step": 1, "loss": NaN}}\n')
    log = JsonLines(path)
    log.cut_before(2)
    log.close()
    assert path.read_text() == '{"step": 0}\n{"step": 1, "loss": NaN}\n'


def test_cut_before_reads_no_line_of_gigabytes(tmp_path: Path) -> None:
    """Some file systems leave a hole where a machine lost its power."""
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 0}\n')
    os.truncate(path, 40 * 2**30)
    log = JsonLines(path)
    log.cut_before(2)
    log.write([{"step": 2}])
    log.close()
    assert path.read_text() == '{"step": 0}\n{"step": 2}\n'


def test_a_log_is_flushed_to_disk_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.fstat(handle).st_size))
    log = JsonLines(tmp_path / "log.jsonl")
    log.write([{"step": 0}, {"step": 1}])
    assert flushed == []
    log.sync()
    assert flushed == [log.path.stat().st_size]
    log.close()
    nowhere = JsonLines(Path(os.devnull))
    nowhere.sync()
    nowhere.close()

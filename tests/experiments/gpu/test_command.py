"""The command: parts with limits of their own, and a report that is written as it goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from time import sleep
from types import SimpleNamespace

import pytest

from minbert.experiments.__main__ import main
from minbert.experiments.gpu import command, process
from minbert.experiments.gpu.config import PARTS
from minbert.experiments.gpu.findings import Findings
from minbert.experiments.gpu.material import Setting
from minbert.experiments.gpu.process import Ended
from minbert.support.places import SAMPLE
from minbert.support.processes import started_at

HERE = "tests.experiments.gpu.parts"


def flags(out: Path, *more: str) -> list[str]:
    return ["gpu", "--tiny", "--device", "cpu", "--data_dir", str(SAMPLE), "--out", str(out), *more]


def replaced(monkeypatch: pytest.MonkeyPatch, run: Callable[..., Ended]) -> None:
    monkeypatch.setattr(process, "run", run)


def test_the_report_has_what_is_found_while_a_part_still_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def run(part: str, setting: Setting, _seconds: float, meanwhile: Callable[[], None]) -> Ended:
        findings = Findings(process.found_at(setting.out, part), 60)
        findings.add("first", lambda: {"ms": 1.5, "right": False})
        findings.add("second", lambda: {"ms": 2.5, "right": True})
        findings.add("third", lambda: 1 / 0)
        meanwhile()
        seen.append((tmp_path / "report.md").read_text())
        return Ended("done", 3.0)

    replaced(monkeypatch, run)
    assert main(flags(tmp_path, "--parts", "steps", "parity")) == 0
    assert "| steps | running | 0 |" in seen[0] and "| first | 1.5 | NO |" in seen[0]
    printed = capsys.readouterr().out
    assert printed.endswith((tmp_path / "report.md").read_text())
    assert "| parity | done | 3 |" in printed
    assert "| third | ZeroDivisionError: division by zero |" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["steps"]["found"]["second"] == {"ms": 2.5, "right": True}
    assert report["machine"]["versions"].keys() == {"python", "torch"}


def test_time_is_shared_out_and_what_has_none_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {}

    def run(part: str, _setting: Setting, seconds: float, _meanwhile: object) -> Ended:
        given[part] = seconds
        clock[0] += 60.0
        return Ended("done", 60.0)

    clock = [0.0]
    monkeypatch.setattr(command.time, "monotonic", lambda: clock[0])
    replaced(monkeypatch, run)
    assert main(flags(tmp_path, "--parts", "suite", "steps", "job", "--seconds", "123")) == 0
    assert given == {"suite": PARTS["suite"][0], "steps": 63.0}
    page = (tmp_path / "report.md").read_text()
    assert "| job | left out: no time | 0 |" in page


def test_parts_of_an_earlier_call_stay_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(part: str, setting: Setting, *_: object) -> Ended:
        Findings(process.found_at(setting.out, part), 60).add(part, dict, {"ms": 1.0})
        return Ended("done", 3.0)

    replaced(monkeypatch, run)
    assert main(flags(tmp_path, "--parts", "steps")) == 0
    assert main(flags(tmp_path, "--parts", "parity")) == 0
    page = (tmp_path / "report.md").read_text()
    assert "| steps | done by an earlier call | 0 |" in page and "| steps | 1 |" in page
    (tmp_path / "report.md").write_text("my own")
    assert main(flags(tmp_path, "--parts", "steps")) == 2
    assert "its report.md is something else" in capsys.readouterr().err
    assert (tmp_path / "report.md").read_text() == "my own"


def test_a_part_that_fails_is_exit_code_1_after_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replaced(monkeypatch, lambda *_: Ended("failed with exit code 1", 1.0))
    assert main(flags(tmp_path, "--parts", "job", "parity")) == 1
    assert "error: job, parity: failed; see the logs" in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command.torch.cuda, "is_available", lambda: False)
    assert main(["gpu", "--device", "cuda", "--out", str(tmp_path)]) == 2
    assert "--device cuda: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "status"),
    [("hanging", "stopped after 60 s"), ("crashing", "failed with exit code 7"), ("fine", "done")],
)
def test_a_limit_or_a_crash_costs_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, status: str
) -> None:
    """The clock stands still until the entry is there, and then the minute is over."""
    (tmp_path / "parts").mkdir()
    path, pid = process.found_at(tmp_path, part), tmp_path / "pid"
    clock = SimpleNamespace(monotonic=lambda: 60.0 if path.exists() and pid.exists() else 0.0)
    monkeypatch.setattr(process, "MODULES", HERE)
    monkeypatch.setattr(process, "time", clock)
    ended = process.run(part, Setting("cpu", True, SAMPLE, tmp_path), 60.0, lambda: None)
    assert ended.status == status
    assert json.loads(path.read_text()) == {"first": {"value": 1}}
    assert "first: " in (tmp_path / "parts" / f"{part}.log").read_text()
    if part == "hanging":  # what it has started is ended with it
        child = int(pid.read_text())
        assert any(started_at(child) is None or sleep(0.1) for _ in range(600))


def test_without_time_an_entry_is_left_out_and_says_so(tmp_path: Path) -> None:
    findings = Findings(tmp_path / "part.json", 1.0)
    findings.add("short", dict, {"a": 1})
    findings.add("long", dict, {"a": 1}, need=100.0)
    found = json.loads((tmp_path / "part.json").read_text())
    assert found["short"] == {"a": 1}
    assert found["long"]["left out"].endswith("s left, 100 needed")


def test_a_number_that_is_none_is_a_finding(tmp_path: Path) -> None:
    Findings(tmp_path / "part.json", 60).add("loss", dict, {"off by": float("nan"), "ms": 1.5})
    assert json.loads((tmp_path / "part.json").read_text())["loss"] == {"off by": "nan", "ms": 1.5}


@pytest.mark.slow
def test_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags(tmp_path, "--patience", "5", "--seconds", "2000")) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report.keys() == {"about", "machine", *PARTS}
    for part in PARTS:
        assert report[part]["status"] == "done"
        assert not any(
            "failed" in facts for facts in report[part]["found"].values() if part != "suite"
        )
    assert report["job"]["found"].keys() == {"--rrobin full, plain", "--rrobin full, SMART"}
    assert report["pretrain"]["found"]["1 layer of 16"]["steps"] == 2
    assert report["suite"]["found"]["pytest -m gpu"]["failed"] == 0
    assert capsys.readouterr().out == (tmp_path / "report.md").read_text()

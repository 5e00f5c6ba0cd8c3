"""`--resume` with settings that no run has: the nearest run and the difference are named."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from minbert.finetune import cli
from minbert.support.locks import opened, try_lock
from tests.finetune.job.running import complaint, stop_after

FLAGS = ("--weights", "encoder", "--option", "finetune", "--epochs", "2", "--lr", "1e-3")


def job(*argv: str) -> int:
    """The main job in its default folder, `runs/<name>`."""
    return cli.main([*FLAGS, *argv])


def runs() -> list[Path]:
    return sorted(Path("runs").iterdir())


CHANGES = [
    (["--seed", "4"], "has seed 11711, not 4. "),
    (["--epochs", "3"], "has epochs 2, not 3. "),
    (["--smart", "--clip", "1"], "has clip unset, not 1.0; smart off, not on. "),
    (["--betas", ".5", ".9"], "has betas 0.9 0.999, not 0.5 0.9. "),
    (["--data_dir", "copy"], "has data_dir unset, not copy. "),
]


@pytest.mark.parametrize("finished", [True, False])
def test_the_nearest_run_and_the_difference_are_named(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    finished: bool,
) -> None:
    shutil.copytree(place / "data", place / "copy")
    assert job("--rlayer", "--rrobin", "--max_steps", "1", "--batch_size", "5") == 0  # far away
    (far,) = runs()
    if not finished:
        stop_after(monkeypatch, 1, signal.SIGTERM)
    assert job() == (0 if finished else 143)
    (near,) = set(runs()) - {far}
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")}
    for changed, words in CHANGES:
        capsys.readouterr()
        assert job("--resume", *changed) == 2
        line = complaint(capsys)
        assert f"the nearest, {near}, {words}" in line and f"--like {near} --resume" in line
    assert {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")} == before


def test_what_the_message_suggests_goes_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_after(monkeypatch, 2, signal.SIGTERM)
    assert job("--data_dir", "data") == 143
    (run,) = runs()
    assert cli.main(["--like", str(run), "--resume"]) == 0
    assert "resumed at step 2 of 4" in capsys.readouterr().err
    assert runs() == [run]


@pytest.mark.parametrize("changed", [["--threads", "1"], ["--device", "cpu"], ["--strict"]])
def test_a_flag_that_decides_nothing_may_differ(place: Path, changed: list[str]) -> None:
    assert job("--max_steps", "1") == 0
    assert job("--max_steps", "1", "--resume", *changed) == 0
    assert len(runs()) == 1


def test_without_another_run_it_begins_one(place: Path) -> None:
    """Also beside what is no run, or was set aside."""
    for name, text in {"notes": "", "broken": "{", "x.old1": '{"status": "finished"}'}.items():
        (place / "runs" / name).mkdir(parents=True)
        if text:
            (place / "runs" / name / "manifest.json").write_text(text)
    assert job("--resume", "--max_steps", "1") == 0
    assert job("--resume", "--max_steps", "1", "--seed", "2", "--output_dir", "new") == 0


def test_a_run_at_work_is_not_meant(place: Path) -> None:
    assert job("--max_steps", "1") == 0
    (run,) = runs()
    with opened(run) as handle:
        assert try_lock(handle)
        assert job("--resume", "--max_steps", "1", "--seed", "2") == 0


def test_many_differences_are_counted(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert job("--max_steps", "1") == 0
    manifest = runs()[0] / "manifest.json"
    old = json.loads(manifest.read_text())
    for name in ("seed", "lr", "epochs", "batch_size", "pooling"):
        del old["config"][name]  # an older run, which did not have these settings
    manifest.write_text(json.dumps(old))
    capsys.readouterr()
    assert job("--resume", "--max_steps", "1", "--clip", "1") == 2
    line = complaint(capsys)
    assert line.count(", not ") == 3 and "and 2 more. " in line

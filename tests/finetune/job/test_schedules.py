"""Every schedule of tasks, trained and resumed by the main job."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from minbert.tasks.mixing import MIXINGS
from tests.finetune.job.running import SIX, go_on, manifest, run, steps_logged, stop_after, written
from tests.helpers import rest_slow, write_course_files

SUMMED = ("--steps_per_task", "summed")
ROWS = {"sst": 16, "para": 24, "sts": 8, "cfimdb": 8}


@pytest.mark.parametrize(
    "options",
    rest_slow(
        4,
        [
            ["full", *SUMMED, "--r4f", "--rlayer", "--smart_dropout", "shared", "--smart"],
            ["pre", "--pre_epochs", "2", "--pre_task", "sst", "--smart", "--clip", "1"],
            ["temperature", "--temperature", "3", "--epoch_batches", "4", "--tasks", "sst,cfimdb"],
            ["equal", *SUMMED, "--smart", "--clip", "1"],
            ["pre", *SUMMED, "--freelb"],
            *([kind] for kind in MIXINGS),
        ],
    ),
    ids=" ".join,
)
def test_every_schedule_trains_and_resumes_to_the_same_bytes(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
) -> None:
    for task, rows in ROWS.items():
        write_course_files(place / "data", rows=rows, tasks=(task,))
    argv = ["--option", "finetune", "--rrobin", *options]
    assert run(*argv) == 0
    files, lines, told = written(), steps_logged(), manifest()
    assert set(SIX) <= set(files)
    assert "epochs   task   batch size  batches     rows  of its set\n1" in capsys.readouterr().err
    stop_after(monkeypatch, 2, signal.SIGTERM)
    assert run(*argv, "--output_dir", "again") == 143
    go_on(*argv, "--output_dir", "again")
    assert written() == files
    assert manifest(Path("again"))["epochs"][-1]["scores"] == told["epochs"][-1]["scores"]
    timeless = [
        [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in own]
        for own in (steps_logged(Path("again")), lines)
    ]
    assert timeless[0] == timeless[1]

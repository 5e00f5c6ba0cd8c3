"""The main job in pieces: the same log and scores, and a run whose memory was short goes on."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from minbert.regularizers.objective import Objective
from tests.finetune.job.running import (
    MAIN,
    complaint,
    go_on,
    manifest,
    run,
    steps_logged,
    stop_after,
    written,
)

CALM = ("--rrobin", "--hidden_dropout_prob", "0", "--batch_size", "5", "--epochs", "1")
SUMMED = ("--option", "finetune", "--steps_per_task", "summed", "--clip", "0.5")
FROZEN = ("--option", "pretrain", "--rlayer")
SAID = "out of memory on 8 rows; from this step on: --micro_batch_size 4"


def logged(folder: str) -> list[dict[str, Any]]:
    """The log without what depends on the machine's speed."""
    rows = steps_logged(Path(folder))
    return [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in rows]


def assert_same_log(ours: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """But for rounding in fp32, which AdamW makes larger from step to step."""
    assert ours != expected
    for row, other in zip(ours, expected, strict=True):
        assert row.pop("task") == other.pop("task")
        assert row.pop("grad_norm") == pytest.approx(other.pop("grad_norm"), rel=0.05)
        assert row == pytest.approx(other, rel=1e-5 if row["step"] == 0 else 1e-3, abs=1e-6)


@pytest.mark.parametrize(
    "method", [SUMMED, FROZEN, ("--option", "finetune", "--freelb")], ids=" ".join
)
def test_pieces_change_neither_log_nor_scores(calm: Path, method: tuple[str, ...]) -> None:
    """FreeLB without its random start, which is each piece's own."""
    noise = ["--freelb_init", "0"] if "--freelb" in method else []
    sizes = {"whole": "auto", "all": "5", "pieces": "2"}
    for folder, size in sizes.items():
        flags = [*CALM, *method, *noise, "--micro_batch_size", size, "--output_dir", folder]
        assert run(*flags) == 0
    assert logged("all") == logged("whole")
    assert_same_log(logged("pieces"), logged("whole"))
    whole, pieces = (manifest(Path(folder)) for folder in ("whole", "pieces"))
    assert pieces["dev"]["sst"] == whole["dev"]["sst"]
    assert (pieces["config"]["micro_batch_size"], whole["config"]["micro_batch_size"]) == (
        2,
        "auto",
    )
    assert "micro_batch_size" not in pieces.keys() | whole.keys()


@pytest.mark.slow
@pytest.mark.usefixtures("forked_ranks")
def test_a_ranks_part_is_cut_too(calm: Path) -> None:
    whole = [*CALM, "--option", "finetune", "--ranks", "2"]
    assert run(*whole, "--output_dir", "whole") == 0
    assert run(*whole, "--micro_batch_size", "1", "--output_dir", "pieces") == 0
    assert_same_log(logged("pieces"), logged("whole"))


def lack_memory(monkeypatch: pytest.MonkeyPatch, rows: int, since: int) -> None:
    """Let objectives run out of memory on more than so many rows, from a step on."""
    passes: Callable[..., Any] = Objective.passes

    def short(self: Objective, model: Any, batch: Any, seed: int, step: int, hand: Any) -> Any:
        values = passes(self, model, batch, seed, step, hand)
        if step >= since and len(batch.ids) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return values

    monkeypatch.setattr(Objective, "passes", short)


def test_short_of_memory_the_job_goes_on_in_halves(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said once, kept in the manifest, and by a run that goes on after a stop."""
    lack_memory(monkeypatch, rows=4, since=2)
    assert run(*MAIN) == 0
    assert capsys.readouterr().err.count(SAID) == 1
    assert manifest()["micro_batch_size"] == 4
    expected = written()
    again = [*MAIN, "--output_dir", "again"]
    with monkeypatch.context() as patched:
        stop_after(patched, 5, signal.SIGTERM)
        assert run(*again) == 143
    assert capsys.readouterr().err.count(SAID) == 1
    lack_memory(monkeypatch, rows=4, since=99)
    go_on(*again)
    assert "out of memory" not in capsys.readouterr().err
    assert written() == expected
    assert logged("again") == logged("out")
    assert manifest(Path("again"))["micro_batch_size"] == 4


@pytest.mark.parametrize(
    "whole", [["--compat", "mtdnn", "--smart"], ["--micro_batch_size", "6"]], ids=" ".join
)
def test_where_nothing_may_be_halved_it_is_one_line(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    whole: list[str],
) -> None:
    lack_memory(monkeypatch, rows=4, since=0)
    assert run("--option", "finetune", *whole) == 1
    said = complaint(capsys)
    assert said.startswith("error: out of memory (CUDA out of memory.); lower --batch_size or, ")
    assert "--micro_batch_size" in said

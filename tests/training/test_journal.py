"""The run's log, and the guard that stops a run on a value that is not finite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from minbert.data.batches import Batch
from minbert.support.durable_files import JsonLines
from minbert.support.errors import RunError
from minbert.training.journal import Journal
from tests.helpers import random_dataset, whole_batch

ACCELERATOR: Any = SimpleNamespace(type="cuda")  # values stay on the CPU; only its name differs
CPU = torch.device("cpu")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[JsonLines]:
    lines = JsonLines(tmp_path / "log.jsonl")
    yield lines
    lines.close()


@pytest.fixture
def batch() -> Batch:
    return whole_batch(random_dataset("sst", 3))


def values(loss: float = 0.5, norm: float = 2.0, **more: float) -> dict[str, torch.Tensor]:
    named = {"loss": loss, "task_loss": loss, **more, "grad_norm": norm}
    return {name: torch.tensor(value) for name, value in named.items()}


def add(journal: Journal, step: int, batch: Batch, named: dict[str, torch.Tensor]) -> None:
    """A step of one batch."""
    own = {name: value for name, value in named.items() if name != "grad_norm"}
    journal.add(step, 1e-3, [batch], [own], named["grad_norm"])


def written(log: JsonLines) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.path.read_text().splitlines()]


def test_on_a_cpu_every_step_is_written_at_once(log: JsonLines, batch: Batch) -> None:
    journal = Journal(log, CPU)
    for step in range(3):
        add(journal, step, batch, values(loss=step + 0.25, adversarial=0.125))
        assert len(written(log)) == step + 1
    last = written(log)[-1]
    assert {name: last[name] for name in ("step", "task", "lr")} == {
        "step": 2,
        "task": "sst",
        "lr": 1e-3,
    }
    assert last["loss"] == 2.25
    assert last["adversarial"] == 0.125
    assert last["grad_norm"] == 2.0
    assert last["tokens"] == batch.tokens.real
    assert last["tokens_per_s"] > 0
    assert journal.last == last


@pytest.mark.parametrize("name", ["loss", "grad_norm", "task_loss"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_stops_the_run_and_says_where(
    log: JsonLines, batch: Batch, name: str, value: float
) -> None:
    journal = Journal(log, CPU)
    with pytest.raises(RunError) as caught:
        add(journal, 17, batch, {**values(), name: torch.tensor(value)})
    for word in ("step 17", "task sst", name, str(value), "0, 1, 2"):
        assert word in str(caught.value)


def test_the_error_stays_a_readable_line_for_a_large_batch(log: JsonLines) -> None:
    batch = whole_batch(random_dataset("sst", 200))
    with pytest.raises(RunError) as error:
        add(Journal(log, CPU), 0, batch, values(loss=float("nan")))
    assert "and 136 more" in str(error.value)
    assert batch.ids[63] in str(error.value)
    assert batch.ids[64] not in str(error.value)


def test_on_an_accelerator_steps_are_written_when_due(log: JsonLines, batch: Batch) -> None:
    journal = Journal(log, ACCELERATOR, flush_every=4)
    for step in range(10):
        add(journal, step, batch, values(loss=float(step)))
        assert len(written(log)) == (step + 1) // 4 * 4
    journal.flush()
    journal.flush()  # nothing pending: nothing happens
    assert [row["step"] for row in written(log)] == list(range(10))
    assert [row["loss"] for row in written(log)] == [float(step) for step in range(10)]


def test_on_an_accelerator_the_culprit_is_found_at_the_next_flush(
    log: JsonLines, batch: Batch
) -> None:
    journal = Journal(log, ACCELERATOR, flush_every=4)
    for step, loss in enumerate([1.0, float("nan"), float("nan")]):
        add(journal, step, batch, values(loss=loss))
    with pytest.raises(RunError, match="step 1, task sst: loss is nan"):
        add(journal, 3, batch, values())


def test_steps_before_the_culprit_are_in_the_log(log: JsonLines, batch: Batch) -> None:
    journal = Journal(log, ACCELERATOR, flush_every=4)
    for step, loss in enumerate([1.0, 2.0, float("nan")]):
        add(journal, step, batch, values(loss=loss))
    with pytest.raises(RunError):
        journal.flush()
    assert [row["loss"] for row in written(log)] == [1.0, 2.0]


def test_steps_with_different_terms_do_not_mix(log: JsonLines, batch: Batch) -> None:
    journal = Journal(log, ACCELERATOR, flush_every=3)
    add(journal, 0, batch, values(1.0, 10.0))
    add(journal, 1, batch, values(2.0, 20.0, adversarial=0.5, bregman=0.25))
    add(journal, 2, batch, values(3.0, 30.0))
    rows = written(log)
    assert [row["grad_norm"] for row in rows] == [10.0, 20.0, 30.0]
    assert rows[1]["bregman"] == 0.25
    assert "bregman" not in rows[2]


def test_kept_features_have_no_tokens(log: JsonLines) -> None:
    data = random_dataset("sst", 2)
    kept = whole_batch(data.with_features(torch.zeros(len(data.texts.lengths), 4)))
    add(Journal(log, CPU), 0, kept, values())
    assert written(log)[0]["tokens"] == 0


def test_a_step_of_several_batches_has_a_line_for_each(log: JsonLines) -> None:
    batches = [whole_batch(random_dataset(task, 3)) for task in ("sst", "sts")]
    named = [{"loss": torch.tensor(loss)} for loss in (0.5, 1.5)]
    Journal(log, CPU).add(7, 1e-3, batches, named, torch.tensor(2.0))
    rows = written(log)
    assert [(row["step"], row["task"], row["loss"]) for row in rows] == [
        (7, "sst", 0.5),
        (7, "sts", 1.5),
    ]
    assert [row["tokens"] for row in rows] == [batch.tokens.real for batch in batches]
    assert {row["grad_norm"] for row in rows} == {2.0}


@pytest.mark.parametrize(
    ("losses", "norm", "where"),
    [
        ((0.5, float("nan")), float("nan"), r"task sts: loss is nan.*ids: 0, 1, 2\."),
        ((0.5, 1.5), float("inf"), r"task sst or sts: grad_norm is inf.*ids: 0, 1, 0, 1, 2\."),
    ],
)
def test_in_a_step_of_several_batches_the_culprit_is_named_where_it_is_known(
    log: JsonLines, losses: tuple[float, float], norm: float, where: str
) -> None:
    batches = [whole_batch(random_dataset(task, n)) for task, n in (("sst", 2), ("sts", 3))]
    named = [{"loss": torch.tensor(loss)} for loss in losses]
    with pytest.raises(RunError, match=f"step 4, {where}"):
        Journal(log, CPU).add(4, 1e-3, batches, named, torch.tensor(norm))
    assert written(log) == []

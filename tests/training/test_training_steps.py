"""Steps on several batches, and runs in two phases."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.encoder.config import EncoderConfig
from minbert.model import MultitaskBert
from minbert.regularizers.smart.bregman import Bregman
from minbert.support.durable_files import JsonLines
from minbert.support.errors import Stopped
from minbert.support.randomness import derive_seed
from minbert.tasks.mixing import MIXINGS, WITH_ROUNDS
from minbert.training.journal import Journal
from minbert.training.loop import train_step
from minbert.training.optimizer import AdamW
from minbert.training.plan import Trainee
from tests.helpers import CPU, rest_slow
from tests.training.training_runs import assert_same_run, make_run, stopping

TASKS_DRAWN = ("sst", "para", "sts")


def drift(model: torch.nn.Module) -> None:
    """Move the weights."""
    with torch.no_grad():
        for param in model.parameters():
            param.mul_(1.03)


class Spy(AdamW):
    """An optimizer that keeps the gradients of its last step."""

    seen: list[Tensor]

    def step(self, closure: Any = None) -> Any:
        params = [param for group in self.param_groups for param in group["params"]]
        self.seen = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in params]
        return super().step(closure)


def make_step(
    folder: Path, shape: EncoderConfig, tasks: Sequence[str], *, smart: bool, clip: float | None
) -> tuple[MultitaskBert, Spy, list[Batch], list[dict[str, Any]]]:
    """One step on a batch of each task, in float64: the model before it, the optimizer, the log."""
    run = make_run(folder, shape, smart=smart)
    run.model.double()
    for term in run.objective.regularizers:
        if isinstance(term, Bregman):
            term._teacher.double()
            drift(term._teacher)
    optimizer = Spy(run.model.parameters(), lr=0.0)
    run.change(clip=clip, learning_rate=lambda _step: 0.0)
    batches = [run.plan.draw(task, torch.arange(4).numpy()) for task in tasks]
    lines = JsonLines(folder / "log.jsonl")
    trainee = Trainee(run.model, run.objective, optimizer, run.plan)
    train_step(trainee, 2, batches, Journal(lines, CPU))
    lines.close()
    return run.model, optimizer, batches, run.log


def test_a_summed_step_takes_the_gradient_of_the_summed_losses(
    tmp_path: Path, shape: EncoderConfig
) -> None:
    """Against one graph over all three losses, each under its own masks."""
    model, optimizer, batches, log = make_step(tmp_path, shape, TASKS_DRAWN, smart=False, clip=None)
    seeds = [derive_seed(3, "pass", 2, *turn) for turn in ((), (1,), (2,))]
    losses = [
        batch.task.loss(model(batch, mask_seed=seed), batch.labels)
        for batch, seed in zip(batches, seeds, strict=True)
    ]
    params = list(model.parameters())
    expected = torch.autograd.grad(sum(losses), params, allow_unused=True)  # type: ignore[arg-type]
    for ours, own in zip(optimizer.seen, expected, strict=True):
        own = torch.zeros_like(ours) if own is None else own
        torch.testing.assert_close(ours, own, rtol=1e-10, atol=1e-10)
    assert [row["task"] for row in log] == list(TASKS_DRAWN)
    told = [float(loss.detach()) for loss in losses]
    assert [row["loss"] for row in log] == pytest.approx(told, rel=1e-6)
    norm = torch.nn.utils.get_total_norm(optimizer.seen)
    assert [row["grad_norm"] for row in log] == pytest.approx([float(norm)] * 3, rel=1e-6)
    assert {row["step"] for row in log} == {2}


@pytest.mark.parametrize("clip", [None, 0.25])
def test_a_summed_step_with_regularizers_is_the_sum_of_separate_ones(
    tmp_path: Path, shape: EncoderConfig, clip: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is clipped once, as a whole."""
    monkeypatch.setattr(
        "minbert.training.loop.derive_seed", lambda *_: 11
    )  # the same masks wherever
    apart = [
        make_step(tmp_path / task, shape, [task], smart=True, clip=None)[1].seen
        for task in TASKS_DRAWN
    ]
    expected = [sum(own) for own in zip(*apart, strict=True)]
    _, optimizer, _, _ = make_step(tmp_path / "all", shape, TASKS_DRAWN, smart=True, clip=clip)
    norm = float(torch.nn.utils.get_total_norm(expected))
    factor = 1.0 if clip is None else clip / (norm + 1e-6)
    assert clip is None or norm > clip
    for ours, own in zip(optimizer.seen, expected, strict=True):
        torch.testing.assert_close(ours, factor * own, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["equal", "pre", "full"])
def test_what_follows_a_step_follows_a_summed_one_once(
    tmp_path: Path, shape: EncoderConfig, kind: str
) -> None:
    run, told = make_run(tmp_path, shape, kind=kind, summed=True), []
    run.objective.after_step = lambda _model: told.append(0)
    progress = run()
    assert len(told) == progress.step == run.plan.total_steps
    assert sorted({row["step"] for row in run.log}) == list(range(progress.step))
    assert len(run.log) > progress.step
    for task in TASKS_DRAWN:
        assert progress.tokens[task][0] == sum(
            row["tokens"] for row in run.log if row["task"] == task
        )


def test_the_optimizer_starts_anew_after_quora_alone(tmp_path: Path, shape: EncoderConfig) -> None:
    run = make_run(tmp_path, shape, kind="pre", epochs=3)
    assert (run.plan.fresh_at, run.plan.total_steps) == (3, 15)
    seen: list[int] = []
    step = run.optimizer.step

    def noting(*_: Any) -> None:
        step()
        word = run.model.encoder.word_embeddings.weight
        seen.append(run.optimizer.state[word]["step"])

    run.optimizer.step = noting  # type: ignore[method-assign, assignment]
    progress = run()
    assert seen == [1, 2, 3, *range(1, 13)]
    assert [row["task"] for row in run.log[:4]] == ["para"] * 3 + ["sst"]
    assert [row["step"] for row in progress.history] == [3, 9, 15]


@pytest.mark.parametrize(
    ("kind", "summed"),
    rest_slow(4, [*product(WITH_ROUNDS, [True]), *product(reversed(MIXINGS), [False])]),
)
def test_a_run_by_any_mixing_goes_on_to_the_same_weights(
    tmp_path: Path, shape: EncoderConfig, kind: str, summed: bool
) -> None:
    """From the first step, from between the epochs (for `pre` the phases), from within."""
    straight = make_run(tmp_path, shape, smart=summed, kind=kind, summed=summed)
    first_epoch = sum(len(step) for step in straight.plan.order.epoch(0))
    straight()
    for batch in (0, first_epoch - 1, first_epoch + 1):
        folder = tmp_path / str(batch)
        first, again = (
            make_run(folder, shape, smart=summed, kind=kind, summed=summed, init=init)
            for init in (1, 99)
        )
        first.before_batch(stopping(first, batch))
        with pytest.raises(Stopped):
            first()
        again(resumed=True)
        assert_same_run(again, straight)

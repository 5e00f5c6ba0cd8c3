"""The loop learns by the plan's rates, keeps the best model, and logs every step."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.encoder.config import EncoderConfig
from minbert.model import MultitaskBert
from minbert.regularizers.base import Regularizer, TrainingPass
from minbert.regularizers.objective import Objective
from minbert.regularizers.smart.bregman import Bregman
from minbert.training.checkpoint import CheckpointStore
from minbert.training.optimizer import AdamW, parameter_groups
from minbert.training.plan import Evaluation
from tests.helpers import WORDS, make_dataset, make_encoder, make_model, make_order, same_tensors
from tests.training.training_runs import Run, make_plan, make_run


def test_the_loss_falls_on_a_problem_that_can_be_learned(
    tmp_path: Path, shape: EncoderConfig
) -> None:
    model = make_model(make_encoder(shape, hidden_dropout_prob=0.0), ["sst"], head_dropout=0.0)
    fillers = WORDS.split()[20:30]
    texts = [(f"{word} {filler}",) for filler in fillers for word in ("good", "bad")]
    data = {"sst": make_dataset("sst", texts, [4.0, 0.0] * len(fillers))}
    order = make_order(None, {"sst": data["sst"].lengths}, 5, 0)
    plan = dataclasses.replace(make_plan(order, data, 60, 500, 0), learning_rate=lambda _step: 1e-2)
    run = Run(tmp_path, model, Objective(), AdamW(parameter_groups(model, 0)), plan)
    progress = run()
    losses = [row["loss"] for row in run.log]
    assert sum(losses[-4:]) < 0.1 * sum(losses[:4])
    assert progress.history[-1]["scores"]["sst"] == 1.0


def test_a_groups_factor_multiplies_the_rate_of_every_step(
    tmp_path: Path, shape: EncoderConfig
) -> None:
    run = make_run(tmp_path, shape, smart=False)
    groups = parameter_groups(run.model, 0, {"heads.": 10.0})
    run.optimizer = AdamW(groups, lr=123.0)
    run.change(learning_rate=lambda step: 1e-3 / (step + 1))
    run()
    last = 1e-3 / run.plan.total_steps
    rates = {group["lr_factor"]: group["lr"] for group in run.optimizer.param_groups}
    assert rates == {1.0: pytest.approx(last), 10.0: pytest.approx(10 * last)}


def test_the_log_has_a_line_a_step_with_every_term_apart(straight: Run) -> None:
    assert [row["step"] for row in straight.log] == list(range(12))
    assert [row["task"] for row in straight.log] == ["sst", "para", "sts"] * 4
    for row in straight.log:
        terms = row["task_loss"] + 5.0 * row["adversarial"] + row["bregman"]
        assert row["loss"] == pytest.approx(terms, rel=1e-5)
        assert row["grad_norm"] > 0
        assert row["tokens"] > 0
    assert all(row["adversarial"] > 0 for row in straight.log)
    assert straight.log[0]["bregman"] == 0  # the teacher starts as the model
    assert all(row["bregman"] > 0 for row in straight.log[1:])


def test_the_learning_rate_is_the_plans(straight: Run) -> None:
    expected = [5e-3 / (step + 1) for step in range(12)]
    assert [row["lr"] for row in straight.log] == pytest.approx(expected, rel=1e-12)


def test_a_rate_of_zero_moves_nothing(tmp_path: Path, shape: EncoderConfig) -> None:
    run = make_run(tmp_path, shape, lr=0.0)  # though the optimizer was built with another rate
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    run()
    assert same_tensors(before, run.model.state_dict())


@pytest.mark.parametrize("steps", [1, 5, 6, 7])
def test_max_steps_ends_a_run_with_a_score(
    tmp_path: Path, shape: EncoderConfig, steps: int
) -> None:
    run = make_run(tmp_path, shape)
    run.change(total_steps=steps)
    progress = run()
    assert progress.step == steps == len(run.log)
    assert [row["step"] for row in progress.history] == ([steps] if steps < 7 else [6, 7])
    assert progress.best_epoch is not None


def test_the_best_epochs_model_is_kept(tmp_path: Path, shape: EncoderConfig) -> None:
    models: list[dict[str, Tensor]] = []
    run = make_run(tmp_path, shape, epochs=4)
    criteria = iter([0.2, 0.7, 0.7, 0.5])

    def score(model: MultitaskBert) -> Evaluation:
        models.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return Evaluation({"sst": 0.0}, next(criteria), {})

    run.change(evaluate=score)
    progress = run()
    assert progress.best_epoch == 2  # the first of equals
    assert [row["criterion"] for row in progress.history] == [0.2, 0.7, 0.7, 0.5]
    assert same_tensors(CheckpointStore(tmp_path).load_best(2)[0], models[1])
    assert not same_tensors(models[1], models[3])


def test_tokens_are_counted_by_task(straight: Run) -> None:
    progress = CheckpointStore(straight.folder).load_last()
    assert progress is not None
    counted = progress[1]["tokens"]
    assert list(counted) == ["sst", "para", "sts"]
    for task, (real, computed) in counted.items():
        logged = sum(row["tokens"] for row in straight.log if row["task"] == task)
        assert real == logged <= computed


def test_an_objective_sees_a_new_seed_at_every_step(tmp_path: Path, shape: EncoderConfig) -> None:
    seeds: list[int] = []

    class Noting(Regularizer):
        name, weight = "noting", 1.0

        def loss(self, model: MultitaskBert, batch: Batch, clean: TrainingPass) -> Tensor:
            seeds.append(clean.seed)
            return clean.logits.sum() * 0

    run = make_run(tmp_path, shape)
    run.objective = Objective([Noting()])
    run()
    assert len(set(seeds)) == 12


def test_the_proximal_teacher_follows_every_step(tmp_path: Path, shape: EncoderConfig) -> None:
    """θ̃ ← (1 - β)θ + βθ̃ after each update, with the weights that the update left."""
    torch.manual_seed(1)
    run = make_run(tmp_path, shape, epochs=1, lr=1e-2)
    term = Bregman(run.model, beta=0.5, dropout="off")
    run.objective = Objective([term])
    expected = {name: param.detach().clone() for name, param in run.model.named_parameters()}
    seen: list[int] = []
    told = run.objective.after_step

    def after_step(model: MultitaskBert) -> None:
        for name, param in model.named_parameters():
            expected[name].lerp_(param.detach(), 0.5)
        seen.append(len(seen))
        told(model)

    run.objective.after_step = after_step
    progress = run()
    assert len(seen) == progress.step > 3
    teacher = term.state_dict()
    for name, value in expected.items():
        (own,) = (tensor for key, tensor in teacher.items() if key.endswith(name))
        torch.testing.assert_close(own, value, rtol=1e-5, atol=1e-7)

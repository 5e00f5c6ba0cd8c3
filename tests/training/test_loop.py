"""The loop: it learns, it can be stopped anywhere, and nothing but finite values moves weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.encoder.config import EncoderConfig
from minbert.model import MultitaskBert
from minbert.regularizers.base import Regularizer, TrainingPass
from minbert.regularizers.objective import Objective
from minbert.regularizers.smart.bregman import Bregman
from minbert.support.errors import RunError, Stopped
from minbert.training import checkpoint
from minbert.training.checkpoint import CheckpointStore
from minbert.training.loop import scale_gradients
from minbert.training.optimizer import AdamW, parameter_groups
from minbert.training.plan import Evaluation
from tests.helpers import WORDS, make_dataset, make_encoder, make_model, make_order, same_tensors
from tests.training.training_runs import (
    SHAPE,
    SIGTERM,
    Run,
    assert_same_run,
    make_plan,
    make_run,
    scripted,
    stopping,
)


@pytest.fixture
def shape() -> EncoderConfig:
    return SHAPE


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


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run with everything on that is never stopped."""
    run = make_run(tmp_path_factory.mktemp("straight"), SHAPE, smart=True)
    run()
    return run


@pytest.mark.parametrize("step", range(12))
def test_a_run_stopped_at_any_step_goes_on_to_the_same_weights(
    tmp_path: Path, shape: EncoderConfig, straight: Run, step: int
) -> None:
    assert straight.plan.total_steps == 12
    first = make_run(tmp_path, shape, smart=True)
    first.before_batch(stopping(first, step))
    with pytest.raises(Stopped) as caught:
        first()
    assert caught.value.signum == SIGTERM
    assert len(first.log) == step + 1  # the step under way was finished
    again = make_run(tmp_path, shape, smart=True, init=99)
    progress = again(resumed=True)
    assert progress.step == 12
    assert_same_run(again, straight)


@pytest.mark.parametrize("step", [2, 3, 5, 6, 8, 11])
def test_a_run_killed_at_any_step_goes_on_from_its_last_checkpoint(
    tmp_path: Path, shape: EncoderConfig, straight: Run, step: int
) -> None:
    def kill(now: int) -> None:
        if now == step:
            raise KeyboardInterrupt

    first = make_run(tmp_path, shape, smart=True, checkpoint_every=2)
    first.before_batch(kill)
    with pytest.raises(KeyboardInterrupt):
        first()
    again = make_run(tmp_path, shape, smart=True, init=99, checkpoint_every=2)
    again(resumed=True)
    assert_same_run(again, straight)


def test_a_run_resumed_after_its_last_step_changes_nothing(
    tmp_path: Path, shape: EncoderConfig
) -> None:
    first = make_run(tmp_path, shape)
    done = first()
    again = make_run(tmp_path, shape, init=99)
    progress = again(resumed=True)
    assert dataclasses.asdict(progress) == dataclasses.asdict(done)
    assert same_tensors(again.model.state_dict(), first.model.state_dict())


def test_a_stop_while_dev_is_scored_keeps_the_epoch(
    tmp_path: Path, shape: EncoderConfig, straight: Run
) -> None:
    def interrupted(_model: MultitaskBert) -> Evaluation:
        raise Stopped(SIGTERM)

    first = make_run(tmp_path, shape, smart=True)
    first.change(evaluate=interrupted)
    with pytest.raises(Stopped):
        first()
    again = make_run(tmp_path, shape, smart=True, init=99)
    assert again(resumed=True).step == 12
    assert_same_run(again, straight)


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


def test_the_best_epoch_survives_a_resume(tmp_path: Path, shape: EncoderConfig) -> None:
    first = make_run(tmp_path, shape, epochs=3)
    first.change(evaluate=scripted([0.9]))
    with pytest.raises(StopIteration):  # killed while scoring the second epoch
        first()
    again = make_run(tmp_path, shape, epochs=3, init=99)
    again.change(evaluate=scripted([0.1, 0.2]))
    progress = again(resumed=True)
    assert progress.best_epoch == 1
    assert [row["criterion"] for row in progress.history] == [0.9, 0.1, 0.2]
    CheckpointStore(tmp_path).load_best(1)


def test_checkpoints_come_when_due_and_at_each_epochs_end(
    tmp_path: Path, shape: EncoderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[tuple[int, int]] = []
    original = CheckpointStore.save_step

    def noted(self: CheckpointStore, step: int, tensors: Any, facts: Any) -> None:
        saved.append((step, facts["epochs_scored"]))
        original(self, step, tensors, facts)

    monkeypatch.setattr(CheckpointStore, "save_step", noted)
    make_run(tmp_path, shape, checkpoint_every=4)()
    assert saved == [(4, 0), (6, 1), (8, 1), (12, 2)]


def test_facts_are_in_every_checkpoint(tmp_path: Path, shape: EncoderConfig) -> None:
    make_run(tmp_path, shape)()
    for folder in tmp_path.glob("step-*"):
        assert checkpoint.load(folder)[1]["who"] == "test"


class Poisoned(Objective):
    """An objective whose loss, or one gradient, is not finite at the third step."""

    def __init__(self, where: str, value: float) -> None:
        super().__init__()
        self.calls, self.where, self.value = 0, where, value

    def backward(
        self, model: MultitaskBert, batch: Batch, seed: int, step: int | None = None, **more: bool
    ) -> dict[str, Tensor]:
        values = super().backward(model, batch, seed, step, **more)
        self.calls += 1
        if self.calls == 3:
            if self.where == "loss":
                values["loss"] = torch.tensor(self.value)
            else:
                weight = next(p for p in model.parameters() if p.grad is not None)
                assert weight.grad is not None
                weight.grad[0, 0] = self.value
        return values


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_stops_the_run_before_the_weights_move(
    tmp_path: Path, shape: EncoderConfig, where: str, value: float
) -> None:
    clean = make_run(tmp_path / "clean", shape)
    clean.change(total_steps=2)
    clean()
    run = make_run(tmp_path / "poisoned", shape)
    run.objective = Poisoned(where, value)
    with pytest.raises(RunError, match=r"step 2, task sts: .* ids: \d"):
        run()
    assert same_tensors(run.model.state_dict(), clean.model.state_dict())
    assert len(run.log) == 2


class OnAccelerator(Tensor):
    """A CPU tensor that says it lies elsewhere, so that the device's branch is taken."""

    device: Any = SimpleNamespace(type="cuda")


@pytest.mark.parametrize("place", ["cpu", "accelerator"])
@pytest.mark.parametrize("clip", [None, 0.5, 1e3])
def test_clipping_is_torchs(place: str, clip: float | None) -> None:
    torch.manual_seed(2)
    params = [torch.nn.Parameter(torch.zeros(size)) for size in ((3, 4), (5,))]
    for param in params:
        param.grad = torch.randn(param.shape)
    gradients = [param.grad.clone() for param in params if param.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if place == "accelerator":
        norm = norm.as_subclass(OnAccelerator)
    scale_gradients(gradients, norm, torch.tensor(1.0), clip)
    if clip is not None:
        torch.nn.utils.clip_grad_norm_(params, clip)
    for ours, param in zip(gradients, params, strict=True):
        torch.testing.assert_close(ours, param.grad, rtol=1e-6, atol=0)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize(
    ("loss", "entry", "found"),
    [
        (1.0, float("nan"), 1.0),
        (1.0, float("inf"), 1.0),
        (float("nan"), 1.0, 1.0),
        (float("inf"), 1.0, 1.0),
        (1.0, 1.0, 0.0),
    ],
)
def test_on_a_device_the_optimizer_hears_of_what_is_not_finite(
    clip: float | None, loss: float, entry: float, found: float
) -> None:
    gradients = [torch.ones(2, 3), torch.tensor([entry, 2.0])]
    norm = torch.nn.utils.get_total_norm(gradients).as_subclass(OnAccelerator)
    answer = scale_gradients(gradients, norm, torch.tensor(loss), clip)
    assert answer is not None and answer.item() == found


def test_on_a_cpu_the_journal_has_stopped_already() -> None:
    gradients = [torch.ones(3)]
    assert scale_gradients(gradients, torch.ones(()), torch.ones(()), 0.5) is None


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

"""The loop: it learns, it can be stopped anywhere, and nothing but finite values moves weights."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import TINY
from helpers import (
    CPU,
    WORDS,
    make_dataset,
    make_encoder,
    make_model,
    make_schedule,
    random_dataset,
    same_tensors,
)
from torch import Tensor

from minbert import checkpoint
from minbert.batching import Batch, Dataset
from minbert.checkpoint import CheckpointStore
from minbert.encoder_config import EncoderConfig
from minbert.evaluate import evaluate
from minbert.files import JsonLines
from minbert.journal import Journal
from minbert.model import MultitaskBert
from minbert.objective import Objective
from minbert.optimizer import AdamW, parameter_groups
from minbert.regularizers.base import Regularizer, TrainingPass
from minbert.regularizers.bregman import Bregman
from minbert.regularizers.smart import Adversarial
from minbert.runtime import RunError, Stopped, StopRequest, derive_seed
from minbert.sampling import Schedule
from minbert.schedules import SCHEDULES, WITH_ROUNDS
from minbert.tasks import overall
from minbert.train import Plan, Progress, Scored, fit, resume, scale_gradients, train_step

SIGTERM = 15
SHAPE = dataclasses.replace(TINY, num_hidden_layers=1, initializer_range=0.2)


@dataclasses.dataclass
class Run:
    """All that a training needs, made anew for every start, as a new process would."""

    folder: Path
    model: MultitaskBert
    objective: Any
    optimizer: AdamW
    plan: Plan
    stop: StopRequest = dataclasses.field(default_factory=StopRequest)

    def __call__(self, *, resumed: bool = False) -> Progress:
        lines = JsonLines(self.folder / "log.jsonl")
        progress = None
        if resumed:
            saved = CheckpointStore(self.folder).load_last()
            assert saved is not None
            progress = resume(self.model, self.objective, self.optimizer, saved)
            lines.cut_before(progress.step)
        try:
            return fit(
                self.model,
                self.objective,
                self.optimizer,
                self.plan,
                store=CheckpointStore(self.folder),
                journal=Journal(lines, CPU),
                stop=self.stop,
                facts={"who": "test"},
                progress=progress,
            )
        finally:
            lines.close()

    @property
    def log(self) -> list[dict[str, Any]]:
        lines = (self.folder / "log.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def change(self, **changes: Any) -> None:
        self.plan = dataclasses.replace(self.plan, **changes)

    def before_batch(self, act: Callable[[int], None]) -> None:
        """Call `act` with the number of the batch about to be drawn."""
        draw, batches = self.plan.draw, itertools.count()

        def acting(task: str, rows: Any) -> Batch:
            act(next(batches))
            return draw(task, rows)

        self.change(draw=acting)


@pytest.fixture
def shape() -> EncoderConfig:
    return SHAPE


def make_run(
    folder: Path,
    shape: EncoderConfig,
    *,
    smart: bool = False,
    epochs: int = 2,
    batch_size: int = 4,
    checkpoint_every: int = 500,
    init: int = 1,
    lr: float = 5e-3,
    kind: str = "equal",
    summed: bool = False,
) -> Run:
    """A run over three tiny tasks by a schedule; `init` seeds its first weights."""
    torch.manual_seed(init)
    model = make_model(make_encoder(shape))
    terms: list[Any] = []
    if smart:
        terms = [
            Adversarial(epsilon=1e-2, sigma=1e-2, eta=1e-2, dropout="independent"),
            Bregman(model, beta=0.9, dropout="shared"),
        ]
    sizes = {"sst": 13, "para": 11, "sts": 8}
    data = {task: random_dataset(task, size, seed=5) for task, size in sizes.items()}
    lengths, alone = {t: d.lengths for t, d in data.items()}, {"pre_task": "para", "pre_epochs": 1}
    schedule = make_schedule(kind, lengths, batch_size, 3, summed=summed, epochs=epochs, **alone)
    plan = _plan(schedule, data, schedule.start(epochs), checkpoint_every, lr)
    return Run(
        folder,
        model,
        Objective(terms),
        AdamW(parameter_groups(model, 0.01), lr=123.0),
        dataclasses.replace(plan, fresh_at=schedule.start(1) if kind == "pre" else 0),
    )


def _plan(
    schedule: Schedule, data: dict[str, Dataset], total: int, checkpoint_every: int, lr: float
) -> Plan:
    def score(model: MultitaskBert) -> Scored:
        scores, predictions = evaluate(model, data)
        return Scored(scores, overall(scores), predictions)

    return Plan(
        schedule=schedule,
        draw=lambda task, rows: data[task].batch(rows, CPU),
        rate=lambda step: lr / (step + 1),
        evaluate=score,
        total_steps=total,
        seed=3,
        clip=1.0,
        checkpoint_every=checkpoint_every,
    )


def scripted(criteria: Sequence[float]) -> Callable[[MultitaskBert], Scored]:
    """A dev evaluation that says what it is told."""
    left: Iterator[float] = iter(criteria)
    return lambda _model: Scored({"sst": 0.0}, next(left), {})


def state(run: Run) -> dict[str, Tensor]:
    """Everything a run has to show for itself: the model and the regularizers' state."""
    return {**run.model.state_dict(), **run.objective.state_dict()}


def test_the_loss_falls_on_a_problem_that_can_be_learned(
    tmp_path: Path, shape: EncoderConfig
) -> None:
    model = make_model(make_encoder(shape, hidden_dropout_prob=0.0), ["sst"], head_dropout=0.0)
    fillers = WORDS.split()[20:30]
    texts = [(f"{word} {filler}",) for filler in fillers for word in ("good", "bad")]
    data = {"sst": make_dataset("sst", texts, [4.0, 0.0] * len(fillers))}
    schedule = make_schedule(None, {"sst": data["sst"].lengths}, 5, 0)
    plan = dataclasses.replace(_plan(schedule, data, 60, 500, 0), rate=lambda _step: 1e-2)
    run = Run(tmp_path, model, Objective(), AdamW(parameter_groups(model, 0)), plan)
    progress = run()
    losses = [row["loss"] for row in run.log]
    assert sum(losses[-4:]) < 0.1 * sum(losses[:4])
    assert progress.history[-1]["scores"]["sst"] == 1.0


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run with everything on that is never stopped."""
    run = make_run(tmp_path_factory.mktemp("straight"), SHAPE, smart=True)
    run()
    return run


def stopping(run: Run, batch: int) -> Callable[[int], None]:
    """Ask the run to stop when it is about to draw a batch."""
    return lambda now: setattr(run.stop, "signum", SIGTERM) if now == batch else None


def assert_same_run(run: Run, straight: Run) -> None:
    assert same_tensors(state(run), state(straight))
    timeless = [
        [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in one.log]
        for one in (run, straight)
    ]
    assert timeless[0] == timeless[1]


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
    def interrupted(_model: MultitaskBert) -> Scored:
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

    def score(model: MultitaskBert) -> Scored:
        models.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return Scored({"sst": 0.0}, next(criteria), {})

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
        self, model: MultitaskBert, batch: Batch, seed: int, step: int | None = None
    ) -> dict[str, Tensor]:
        values = super().backward(model, batch, seed, step)
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
    ("loss", "entry"),
    [(1.0, float("nan")), (1.0, float("inf")), (float("nan"), 1.0), (float("inf"), 1.0)],
)
def test_on_a_device_what_is_not_finite_never_reaches_the_optimizer(
    clip: float | None, loss: float, entry: float
) -> None:
    gradients = [torch.ones(2, 3), torch.tensor([entry, 2.0])]
    norm = torch.nn.utils.get_total_norm(gradients).as_subclass(OnAccelerator)
    scale_gradients(gradients, norm, torch.tensor(loss), clip)
    assert all(not gradient.any() for gradient in gradients)


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


# ------------------------------------------------------------------- several batches, two phases


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
    run.change(clip=clip, rate=lambda _step: 0.0)
    batches = [run.plan.draw(task, torch.arange(4).numpy()) for task in tasks]
    lines = JsonLines(folder / "log.jsonl")
    train_step(run.model, run.objective, optimizer, run.plan, 2, batches, Journal(lines, CPU))
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
    monkeypatch.setattr("minbert.train.derive_seed", lambda *_: 11)  # the same masks wherever
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


CASES = [(kind, False) for kind in SCHEDULES] + [(kind, True) for kind in WITH_ROUNDS]


@pytest.mark.parametrize(("kind", "summed"), CASES)
def test_a_run_by_any_schedule_goes_on_to_the_same_weights(
    tmp_path: Path, shape: EncoderConfig, kind: str, summed: bool
) -> None:
    """From the first step, from between the epochs (for `pre` the phases), from within."""
    straight = make_run(tmp_path, shape, smart=summed, kind=kind, summed=summed)
    first_epoch = sum(len(step) for step in straight.plan.schedule.epoch(0))
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

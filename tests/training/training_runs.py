"""Small runs of the training loop that can be stopped, changed and looked into."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minbert.data.batches import Batch, Dataset
from minbert.encoder.config import EncoderConfig
from minbert.finetune.evaluate import evaluate
from minbert.model import MultitaskBert
from minbert.regularizers.objective import Objective
from minbert.regularizers.smart.adversarial import Adversarial
from minbert.regularizers.smart.bregman import Bregman
from minbert.support.durable_files import JsonLines
from minbert.support.signals import StopRequest
from minbert.tasks.registry import overall
from minbert.training.checkpoint import CheckpointStore
from minbert.training.journal import Journal
from minbert.training.loop import fit
from minbert.training.optimizer import AdamW, parameter_groups
from minbert.training.plan import Evaluation, Plan, TaskOrder, Trainee
from minbert.training.progress import Progress, resume
from tests.helpers import (
    CPU,
    TINY,
    make_encoder,
    make_model,
    make_order,
    random_dataset,
    same_tensors,
)

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
        trainee = Trainee(self.model, self.objective, self.optimizer, self.plan)
        lines, store = JsonLines(self.folder / "log.jsonl"), CheckpointStore(self.folder)
        progress = Progress()
        if resumed:
            saved = store.load_last()
            assert saved is not None
            progress = resume(trainee, saved)
            lines.cut_before(progress.step)
        journal, facts = Journal(lines, CPU), {"who": "test"}
        try:
            fit(trainee, progress, store=store, journal=journal, stop=self.stop, facts=facts)
        finally:
            lines.close()
        return progress

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
    """A run over three tiny tasks by a mixing; `init` seeds its first weights."""
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
    order = make_order(kind, lengths, batch_size, 3, summed=summed, epochs=epochs, **alone)
    plan = make_plan(order, data, order.start(epochs), checkpoint_every, lr)
    return Run(
        folder,
        model,
        Objective(terms),
        AdamW(parameter_groups(model, 0.01), lr=123.0),
        dataclasses.replace(plan, fresh_at=order.start(1) if kind == "pre" else 0),
    )


def make_plan(
    order: TaskOrder, data: dict[str, Dataset], total: int, checkpoint_every: int, lr: float
) -> Plan:
    def score(model: MultitaskBert) -> Evaluation:
        scores, predictions = evaluate(model, data)
        return Evaluation(scores, overall(scores), predictions)

    return Plan(
        order=order,
        draw=lambda task, rows: data[task].batch(rows, CPU),
        learning_rate=lambda step: lr / (step + 1),
        evaluate=score,
        total_steps=total,
        seed=3,
        clip=1.0,
        checkpoint_every=checkpoint_every,
    )


def scripted(criteria: Sequence[float]) -> Callable[[MultitaskBert], Evaluation]:
    """A dev evaluation that says what it is told."""
    left: Iterator[float] = iter(criteria)
    return lambda _model: Evaluation({"sst": 0.0}, next(left), {})


def state(run: Run) -> dict[str, Tensor]:
    """Everything a run has to show for itself: the model and the regularizers' state."""
    return {**run.model.state_dict(), **run.objective.state_dict()}


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

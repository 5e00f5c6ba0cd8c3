"""What every rank of a group does to compare itself with a process that trains alone."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.pretrain.masking import Masker
from minbert.pretrain.objective import PretrainingObjective, TextBatch
from minbert.pretrain.pairs import read_rows
from minbert.pretrain.shards import PackedRows
from minbert.pretrain.teaching import TaughtBatch, TeachingObjective, Weights
from minbert.regularizers import spectral
from minbert.regularizers.freelb import FreeLB
from minbert.regularizers.objective import Objective
from minbert.regularizers.r3f import CHOICES, R3F
from minbert.regularizers.smart.adversarial import Adversarial
from minbert.regularizers.smart.bregman import Bregman
from minbert.support.durable_files import JsonLines
from minbert.support.signals import StopRequest
from minbert.tasks.mixing import MIXINGS, WITH_ROUNDS
from minbert.training import group
from minbert.training.journal import Journal
from minbert.training.loop import train_step
from minbert.training.optimizer import AdamW, parameter_groups
from minbert.training.plan import ByPasses, Trainee
from minbert.training.shared import SharedObjective
from tests.helpers import CPU, TINY, VOCAB, make_encoder, make_model, make_order, random_dataset
from tests.pretrain.taught import our_reader, their_reader, tiny_student, tiny_teacher
from tests.pretrain.test_model import tiny
from tests.tiny_models import Case, randomize, tiny_batch, tiny_model
from tests.training.training_runs import make_plan

T = TypeVar("T")
STILL = dataclasses.replace(
    TINY, num_hidden_layers=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
)
ROWS = [("the film was good", "a man plays guitar"), ("red",), ("how do i learn",), ("x", "y")] * 3
EXACT = 1e-12  # of the largest number among those that are compared
CASES = (Case("sst", "bi"), Case("para", "relational"), Case("sts", "bi"))
FEW, MORE = (7, 4), (3, 7, 4, 5, 6)  # lengths of the texts of a batch, with examples for all ranks
STEPS = 6  # as many as it takes to leave the first phase of a schedule that has two


def by_the_input(like: Tensor) -> Tensor:
    """Noise that a text has in whatever batch it is."""
    return 0.01 * torch.sin(37 * like.detach())


def hold_noise() -> None:
    """Let all noise depend on the text alone."""

    def noised(self: R3F, batch: Batch, x: Tensor, _seed: int) -> Tensor:
        x = x.detach() if self._choices.detached_words else x
        return x + by_the_input(x) * batch.tokens.attention_mask.unsqueeze(-1)

    def start(_self: FreeLB, model: MultitaskBert, batch: Batch, _seed: int) -> Tensor:
        return by_the_input(model.embed(batch)) * batch.tokens.attention_mask.unsqueeze(-1)

    Adversarial._noise = lambda _self, like, _seed: by_the_input(like)
    R3F.copy, FreeLB.start = noised, start


def smart(model: MultitaskBert) -> Objective:
    """Both of SMART's terms, with an average that is not the model."""
    climb = Adversarial(epsilon=0.02, sigma=0.01, eta=0.01, steps=2)
    near = Bregman(model, beta=0.9)
    randomize(near._teacher, 0.05)
    return Objective([climb, near])


def reusing(_model: MultitaskBert) -> Objective:
    return Objective([Adversarial(epsilon=0.02, sigma=0.01, reuse_clean=True)])


def r4f(model: MultitaskBert) -> Objective:
    if not any(isinstance(own, nn.Linear) for own in model.heads.modules()):
        return Objective([R3F(normalized_heads=True)])
    spectral.normalize([model.heads])
    return Objective([R3F(normalized_heads=True)])


METHODS: dict[str, Callable[[MultitaskBert], Any]] = {
    "plain": lambda _model: Objective(),
    "smart": smart,
    "smart, slope of the clean pass": reusing,
    **{
        f"r3f, dropout {policy}": lambda _model, policy=policy: Objective([R3F(dropout=policy)])
        for policy in ("independent", "shared", "off")
    },
    "r3f as fairseq": lambda _model: Objective([R3F(choices=CHOICES["fairseq"])]),
    "r4f": r4f,
    "freelb": lambda _model: FreeLB(steps=3, step_size=0.1, radius=0.2),
}


def assert_close(ours: dict[str, Tensor], expected: dict[str, Tensor], what: str) -> None:
    """All numbers within `EXACT` of the largest."""
    assert ours.keys() == expected.keys(), what
    largest = max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        distance = float((ours[name] - value).abs().max())
        assert distance <= EXACT * largest, f"{what}, {name}: {distance:g} of {largest:g}"


def by_the_first(compute: Callable[[], T]) -> T:
    """What rank 0 alone computes, on all ranks."""
    found = [compute() if group.rank() == 0 else None]
    dist.broadcast_object_list(found, src=0)
    return found[0]


def gradients(model: nn.Module) -> dict[str, Tensor]:
    named = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {name: gradient.clone() for name, gradient in named.items()}


@contextlib.contextmanager
def exchanges_counted() -> Iterator[list[int]]:
    """A list that grows with every exchange of gradients."""
    found: list[int] = []
    forward = DistributedDataParallel.forward
    DistributedDataParallel.forward = lambda *args: (found.append(1), forward(*args))[1]
    yield found
    DistributedDataParallel.forward = forward


def compare_gradients(what: str, model: nn.Module, objective: Any, batch: Any) -> None:
    """The gradient and the values of the whole batch, on top of a gradient that is there."""

    def alone() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        values = objective.backward(model, batch, 1, 0)
        return values, {name: 2 * gradient for name, gradient in gradients(model).items()}

    model.zero_grad()
    expected, twice = by_the_first(alone)
    model.zero_grad()
    together = SharedObjective(objective)
    with exchanges_counted() as exchanges:
        found = [together.backward(model, batch, 1, 0, more=more) for more in (True, False)]
    assert len(exchanges) == 1, f"{what}: {len(exchanges)} exchanges"
    assert_close(gradients(model), twice, what)
    for values in found:
        assert_close(values, expected, what)


def check_methods(_stop: StopRequest) -> None:
    """Every regularizer and task, one text or two, too few rows, and features of a frozen one."""
    hold_noise()
    for case in CASES:
        for name, method in METHODS.items():
            model = tiny_model(case, dropout=0, head_dropout=0)
            objective = method(model)
            for lengths in (FEW, MORE) if case.task == "para" else (MORE,):
                batch = tiny_batch(case, lengths=lengths * case.views)
                what = f"{case}, {name}, {len(lengths)} rows"
                compare_gradients(what, model, objective, batch)
        frozen = tiny_model(case, dropout=0, head_dropout=0, frozen=True)
        batch = tiny_batch(case, lengths=MORE * case.views)
        features = frozen.pool(batch.tokens).unflatten(0, (batch.views, -1)).detach()
        batch = dataclasses.replace(batch, tokens=None, features=features)
        if frozen.has_head_weights(case.task):
            compare_gradients(f"{case}, frozen", frozen, Objective(), batch)


def state_after(kind: str, method: str, summed: bool, *, together: bool) -> dict[str, Tensor]:
    """The model and the objective's state after some steps on three tasks."""
    torch.manual_seed(0)
    model = make_model(make_encoder(STILL, "reference"), head_dropout=0.0)
    randomize(model, 0.3)
    model.double()
    objective = METHODS[method](model)
    data = {t: random_dataset(t, n, seed=5) for t, n in (("sst", 13), ("para", 11), ("sts", 8))}
    lengths = {task: own.lengths for task, own in data.items()}
    settings = {"pre_task": "para", "pre_epochs": 1, "epochs": 4}
    order = make_order(kind, lengths, 5, 3, summed=summed, **settings)
    plan = make_plan(order, data, total=STEPS, checkpoint_every=500, lr=5e-3)
    shared = SharedObjective(objective) if together else objective
    trainee = Trainee(model, shared, AdamW(parameter_groups(model, 0.01), lr=1.0), plan)
    journal = Journal(JsonLines(Path(os.devnull)), CPU)
    steps = itertools.chain.from_iterable(order.epoch(epoch) for epoch in range(4))
    for number, rows_by_task in enumerate(itertools.islice(steps, STEPS)):
        batches = [plan.draw(task, rows) for task, rows in rows_by_task]
        train_step(trainee, number, batches, journal)
    return {**model.state_dict(), **objective.state_dict()}


def check_steps(_stop: StopRequest) -> None:
    """Steps of every schedule, summed and not, and of what has a state or several passes."""
    hold_noise()
    courses = [(kind, "plain", False) for kind in MIXINGS]
    courses += [(kind, "plain", True) for kind in WITH_ROUNDS]
    courses += [("equal", "smart", False)]
    courses += [("equal", method, True) for method in ("smart", "r3f as fairseq", "r4f", "freelb")]
    for course in courses:
        alone = by_the_first(partial(state_after, *course, together=False))
        together = state_after(*course, together=True)
        assert_close(together, alone, f"{STEPS} steps, {course}")


class Whole(ByPasses[Any, Any]):
    """A lesson's objective as a whole one, which has no state."""

    def __init__(self, lesson: Any) -> None:
        self.passes = lesson.passes


def packed(count: int) -> TextBatch:
    """Random rows of two texts, as packing makes them."""
    rng = np.random.default_rng(count)
    ids = rng.integers(5, len(VOCAB), (count, 24))
    ids[:, 0] = VOCAB["[CLS]"]
    lengths = rng.integers(12, 25, count)
    ids[np.arange(24) >= lengths[:, None]] = VOCAB["[PAD]"]
    rows = PackedRows(ids, lengths, rng.integers(4, 9, count), rng.integers(0, 2, count))
    return TextBatch(tuple(map(str, range(count))), rows)


def check_pretraining(_stop: StopRequest) -> None:
    """Masked words, next sentences, and a teacher's vectors, in pieces and not."""
    masker = Masker(VOCAB, 0.15, whole_words=False)
    for count in (2, 10):
        for piece in (2, 100):
            for pairs in (True, False):
                model = tiny(dropout=0.0, next_sentence=pairs).double()
                text = PretrainingObjective(masker, piece)
                what = f"{count} rows of text, {piece} at once, pairs {pairs}"
                compare_gradients(what, model, Whole(text), packed(count))
            teacher, weights = tiny_teacher(dtype=torch.float64), Weights(1.0, 2.0, 5.0)
            reads = read_rows(ROWS[:count], our_reader(), their_reader(), 4)
            taught = TeachingObjective(teacher, our_reader(), weights, piece)
            batch = TaughtBatch(tuple(map(str, range(count))), reads, piece)
            what = f"{count} rows of a teacher, {piece} at once"
            compare_gradients(what, tiny_student().double(), Whole(taught), batch)


def check_all(stop: StopRequest) -> int:
    for check in (check_methods, check_steps, check_pretraining):
        check(stop)
    return group.size()

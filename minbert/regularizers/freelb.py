"""FreeLB, "free" large-batch adversarial training (Zhu et al. 2020, algorithm 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.regularizers.method import Method, Recipe
from minbert.support.errors import InputError
from minbert.support.flags import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    CountPerTask,
    PerTask,
    When,
    flag,
    for_task,
    shown,
)
from minbert.support.randomness import derive_seed, generator
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Task
from minbert.training.plan import ByPasses, Differentiate

GROUP = "FreeLB (--freelb; Zhu et al. 2020)"


class FreeLB(ByPasses[MultitaskBert, Batch]):
    """The mean of K losses along an ascent, instead of the loss at x: K passes and K - 1 updates.

        δ₀ = U(-1, 1) · m / √(L · d)                       (`init`; L real tokens, d hidden size)
        for t = 1, ..., K:
            g_θ ← g_θ + ∇_θ l(f(x + δ), y) / K
            g   ← ∇_δ l(f(x + δ), y)
            δ   ← Π(δ + α g / ‖g‖_F),   ‖δ‖_F ≤ ε          (`step_size`, `radius`; not after t = K)

    δ, L and the Frobenius norms are each example's own, both texts of a pair together; padding is
    never perturbed. All K passes have the same dropout masks, and run in the training pass's
    precision: the ascent follows the loss's own gradient, which bf16 gives well, not a difference
    of two passes. One backward pass serves θ and δ, so a step costs K ordinary ones.
    """

    perturbs_inputs = True

    def __init__(
        self,
        *,
        steps: CountPerTask = 2,
        step_size: PerTask = 0.1,
        init: PerTask | None = None,
        radius: PerTask | None = None,
    ) -> None:
        """`steps` is K, `step_size` α, `init` m, `radius` ε; None: each task's published one."""
        self.steps, self.step_size = steps, step_size
        self.init, self.radius = init, radius

    def passes(
        self,
        model: MultitaskBert,
        batch: Batch,
        seed: int,
        step: int | None,  # noqa: ARG002  nothing depends on it
        differentiate: Differentiate,
    ) -> dict[str, Tensor]:
        """Hand over the K losses, each over K.

        Returns detached scalars: `loss`, the mean of the K losses; `task_loss`, the first, at δ₀;
        and `freelb_rise`, by how much the last exceeds it.
        """
        losses: list[Tensor] = []
        delta = self.start(model, batch, seed)
        steps = self.steps if isinstance(self.steps, int) else self.steps[batch.name]
        for number in range(steps):
            last = number == steps - 1
            delta = delta.detach().requires_grad_(not last)
            embeddings = model.embed(batch)
            assert embeddings is not None
            logits = model(batch, embeddings + delta, mask_seed=seed, exact=False)
            loss = batch.task.loss(logits, batch.labels)
            differentiate(loss / steps, last)
            losses.append(loss.detach())
            if not last:
                assert delta.grad is not None
                delta = self.moved(delta.detach(), delta.grad, batch)
        rise = losses[-1] - losses[0]
        return {"loss": torch.stack(losses).mean(), "task_loss": losses[0], "freelb_rise": rise}

    def recordable(self, _batch: Batch, _step: int | None) -> bool:
        """Whether its passes can be recorded: always."""
        return True

    def start(self, model: MultitaskBert, batch: Batch, seed: int) -> Tensor:
        """δ₀, (V·B, T, H)."""
        assert batch.tokens is not None
        mask = batch.tokens.attention_mask.unflatten(0, (batch.views, -1))  # (V, B, T)
        table = model.encoder.word_embeddings.weight
        noise = table.new_empty(*mask.shape, table.size(1))  # (V, B, T, H)
        noise.uniform_(-1, 1, generator=generator(derive_seed(seed, "freelb"), table.device))
        tokens = mask.sum(dim=(0, 2)).to(table.dtype)  # L, (B,)
        scale = _published(self.init, batch.task, "freelb_init") / (tokens * table.size(1)).sqrt()
        return (noise * mask.unsqueeze(-1) * scale[:, None, None]).flatten(0, 1)

    def moved(self, delta: Tensor, gradient: Tensor, batch: Batch) -> Tensor:
        """δ after an update from `gradient`, inside its ball."""
        assert batch.tokens is not None
        gradient = gradient * batch.tokens.attention_mask.unsqueeze(-1)
        length = _norms(gradient, batch.views)
        ascent = gradient / torch.where(length > 0, length, 1)
        delta = delta + for_task(self.step_size, batch.name) * ascent
        size = _norms(delta, batch.views)
        limit = _published(self.radius, batch.task, "freelb_radius")
        return delta * torch.where(size > limit, limit / size, 1)

    def after_step(self, model: MultitaskBert) -> None:
        """Nothing follows a step."""

    def state_dict(self) -> dict[str, Tensor]:
        """There is no state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """There is no state."""


def _norms(rows: Tensor, views: int) -> Tensor:
    """Each example's Frobenius norm over both its texts, (V·B, 1, 1)."""
    squares = rows.unflatten(0, (views, -1)).square().sum(dim=(0, 2, 3))  # (B,)
    return squares.sqrt().repeat(views)[:, None, None]


def _published(given: PerTask | None, task: Task, name: str) -> float:
    """The number given for a task, else the published one: its entry's `freelb_init`, say."""
    if given is not None:
        return for_task(given, task.name)
    number: float | None = getattr(task, name)
    assert number is not None, f"{task.name}: no {name}"
    return number


def _default(name: str) -> str:
    """The published numbers of all tasks, as a flag's value is typed."""
    known = {task.name: getattr(task, name) for task in TASKS.values()}
    return shown({task: number for task, number in known.items() if number is not None})


def _most_steps(steps: CountPerTask) -> int:
    return steps if isinstance(steps, int) else max(steps.values())


_ON = When(lambda c: c.freelb, "--freelb")
_MOVES = (_ON, When(lambda c: _most_steps(c.freelb_steps) > 1, "--freelb_steps above 1"))


@dataclass(frozen=True)
class FreeLBFlags:
    """The flags of FreeLB."""

    freelb: bool = flag(
        False,
        GROUP,
        "train on the mean loss along an ascent in the embeddings, instead of the plain loss",
    )
    freelb_steps: CountPerTask = flag(
        2,
        GROUP,
        "passes; the embeddings move between them (a task's own: TASK=2,TASK=3)",
        limit=AT_LEAST_ONE,
        metavar="K",
        acts=[_ON],
    )
    freelb_lr: PerTask = flag(
        0.1,
        GROUP,
        "size of an ascent step (Frobenius norm)",
        limit=POSITIVE,
        metavar="STEP",
        acts=_MOVES,
    )
    freelb_init: PerTask | None = flag(
        None,
        GROUP,
        f"magnitude of the random start; default as published, {_default('freelb_init')}",
        limit=NOT_NEGATIVE,
        metavar="M",
        acts=[_ON],
    )
    freelb_radius: PerTask | None = flag(
        None,
        GROUP,
        f"radius of the ball (Frobenius norm); default as published, {_default('freelb_radius')}",
        limit=POSITIVE,
        metavar="R",
        acts=_MOVES,
    )


def _check(config: Any) -> None:
    """Raise InputError for a task for which one of FreeLB's numbers is missing."""
    if not config.freelb:
        return
    for name in ("freelb_steps", "freelb_init", "freelb_lr", "freelb_radius"):
        if name in ("freelb_steps", "freelb_init") or _most_steps(config.freelb_steps) > 1:
            _check_numbers(config, name)


def _check_numbers(config: Any, name: str) -> None:
    """Raise InputError unless every task that trains has this number: without it, it would be 0."""
    given = getattr(config, name)
    for task in config.trained_tasks:
        if isinstance(given, dict) and task not in given:
            raise InputError(f"--{name} {shown(given)}: names no number for {task}")
        if given is None and getattr(TASKS[task], name) is None:
            numbers = ",".join(f"{trained}=NUMBER" for trained in config.trained_tasks)
            raise InputError(f"--freelb: {task} has no published number; give --{name} {numbers}")


def _objective(config: Any) -> FreeLB:
    return FreeLB(
        steps=config.freelb_steps,
        step_size=config.freelb_lr,
        init=config.freelb_init,
        radius=config.freelb_radius,
    )


def _by_task(tasks: Sequence[Task]) -> dict[str, Any]:
    """What the published scripts for RoBERTa set, some of it by task."""
    own = {
        name: {t.name: value for t in tasks if (value := getattr(t, name)) is not None}
        for name in ("freelb_lr", "freelb_steps")
    }
    shared = {"weight_decay": 0.1, "warmup": 0.06, "schedule": "polynomial", "power": 1.0}
    return {**shared, **{name: numbers for name, numbers in own.items() if numbers}}


_RECIPE = Recipe(
    "freelb",
    "weight decay .1, 6% warm-up, polynomial decay of power 1, and by task FreeLB's step and "
    "passes, beside its start and radius",
    _by_task,
)
FREELB = Method(
    FreeLBFlags,
    ("freelb",),
    check=_check,
    objective=_objective,
    lowers=lambda _config: True,
    recipe=_RECIPE,
)

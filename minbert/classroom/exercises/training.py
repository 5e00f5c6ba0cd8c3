"""Exercises of the optimizer, the losses and the training step."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from minbert.classroom.exercises.base import Exercise, normal, weights_of, with_weights
from minbert.classroom.judge import Tensors
from minbert.tasks import losses
from minbert.training import loop, optimizer

_GROUP = {"lr": 0.1, "betas": (0.8, 0.95), "eps": 0.2, "weight_decay": 0.3}


def _step_inputs(source: torch.Generator) -> Tensors:
    later = torch.randint(2, 20, (2,), generator=source)
    rate = torch.rand((), generator=source, dtype=torch.float64)
    return {"steps": torch.cat([torch.ones(1, dtype=torch.int64), later]), "lr": 0.1 + rate}


def _step_sizes(inputs: Tensors) -> Tensors:
    group = {**_GROUP, "lr": float(inputs["lr"])}
    sizes = {
        corrected: [
            optimizer._step_size({**group, "correct_bias": corrected}, step)
            for step in inputs["steps"].tolist()
        ]
        for corrected in (True, False)
    }
    names = {True: "step sizes", False: "step sizes without correct_bias"}
    return {names[c]: torch.tensor(s, dtype=torch.float64) for c, s in sizes.items()}


def _update_inputs(source: torch.Generator) -> Tensors:
    return {"param": normal(source, 3, 4), "grads": normal(source, 3, 3, 4)}


def _updated(inputs: Tensors) -> Tensors:
    """Three updates; the bias correction is off, so that `_step_size` plays no part."""
    group = {**_GROUP, "correct_bias": False}
    found = {}
    for words, decay in {"": 0.3, " without decay": 0.0}.items():
        param = inputs["param"].clone()
        state: dict[str, Any] = {
            name: torch.zeros_like(param) for name in ("exp_avg", "exp_avg_sq")
        }
        for step, grad in enumerate(inputs["grads"], start=1):
            state["step"] = step
            optimizer.reference_update(param, grad, state, {**group, "weight_decay": decay})
        found[f"param{words}"] = param
    return {**found, "exp_avg": state["exp_avg"], "exp_avg_sq": state["exp_avg_sq"]}


def _descended(inputs: Tensors) -> Tensors:
    """Three steps of the class itself, with bias correction and decay."""
    param = nn.Parameter(inputs["param"].clone())
    adamw = optimizer.AdamW([param], **_GROUP, fused=False)  # type: ignore[arg-type]
    for grad in inputs["grads"]:
        param.grad = grad.clone()
        adamw.step()
    return {"param": param.detach()}


def _loss_inputs(source: torch.Generator) -> Tensors:
    return {
        "logits": normal(source, 4, 3),
        "classes": torch.tensor([0.0, 2.0, 1.0, 2.0]),
        "logit": normal(source, 4, 1),
        "answers": torch.tensor([1.0, 0.0, 0.0, 1.0]),
        "scores": torch.tensor([0.0, 4.5, 1.0, 2.0]),
    }


def _losses(inputs: Tensors) -> Tensors:
    logit = inputs["logit"]
    return {
        "cross-entropy": losses.cross_entropy(inputs["logits"], inputs["classes"]),
        "binary cross-entropy": losses.binary_cross_entropy(logit, inputs["answers"]),
        "squared error": losses.squared_error(logit, inputs["scores"]),
    }


def _loop_inputs(source: torch.Generator) -> Tensors:
    return {"x": normal(source, 2, 5, 3), **weights_of(nn.Linear(3, 2), source)}


class _Objective:
    """The mean square of a linear layer's outputs; it counts what it is told."""

    told = 0

    def backward(
        self, model: nn.Module, batch: Any, _seed: int, _step: int, *, more: bool
    ) -> dict[str, Tensor]:
        loss = model(batch.x).square().mean() * (1 if more else 2)
        loss.backward()
        return {"loss": loss.detach()}

    def after_step(self, model: nn.Module) -> None:
        self.told += 1
        assert all(p.grad is None for p in model.parameters()), "gradients must be zeroed first"


class _Descent(torch.optim.SGD):
    """Plain descent with a momentum, so that a state that is forgotten shows."""

    found_inf: Tensor | None = None


def _trained(inputs: Tensors) -> Tensors:
    model: Any = with_weights(nn.Linear(3, 2), inputs)
    groups: list[dict[str, Any]] = [
        {"params": [model.weight]},
        {"params": [model.bias], "lr_factor": 3.0},
    ]
    descent, objective, norms = _Descent(groups, lr=9.0, momentum=0.5), _Objective(), []
    plan = SimpleNamespace(
        fresh_at=2, seed=0, clip=2.5, learning_rate=lambda step: 0.1 / (step + 1)
    )
    trainee: Any = SimpleNamespace(model=model, plan=plan, optimizer=descent, objective=objective)
    journal: Any = SimpleNamespace(add=lambda *row: norms.append(row[-1]))
    batches: Any = [SimpleNamespace(x=x) for x in inputs["x"]]
    for step in range(3):
        loop.train_step(trainee, step, batches, journal)
    return {
        "weight": model.weight.detach(),
        "bias": model.bias.detach(),
        "norms in the journal": torch.stack([norm.detach() for norm in norms]),
        "calls of after_step": torch.tensor(objective.told),
    }


ADAMW = (
    Exercise("step size", _step_inputs, _step_sizes),
    Exercise("update", _update_inputs, _updated),
    Exercise("steps", _update_inputs, _descended),
)
LOOP = (
    Exercise("losses", _loss_inputs, _losses),
    Exercise("training step", _loop_inputs, _trained),
)

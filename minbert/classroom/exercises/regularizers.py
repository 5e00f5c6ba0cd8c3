"""Exercises of the divergences, of SMART and of R3F, over a small smooth model."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minbert.classroom.exercises.base import (
    Exercise,
    gradient,
    mask_of,
    normal,
    weights_of,
    with_weights,
)
from minbert.classroom.judge import Tensors
from minbert.data.batches import Batch, Padded
from minbert.regularizers.base import TrainingPass
from minbert.regularizers.r3f import R3F
from minbert.regularizers.smart import adversarial
from minbert.regularizers.smart.bregman import Bregman
from minbert.tasks import losses
from minbert.tasks.registry import COURSE_TASKS, TASKS

_LENGTHS, _SIZE, _OUTPUTS, _VIEWS = (4, 2, 3, 4), 5, 3, 2


class _Smooth(nn.Module):
    """A model whose logits depend on the texts of each example alone, padding included."""

    lowers_precision = has_dropout = encoder_has_dropout = False

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, _SIZE)
        self.output = nn.Linear(_SIZE, _OUTPUTS)
        self.frozen = nn.Linear(1, 1).requires_grad_(False)

    def embed(self, batch: Batch) -> Tensor:
        """(V·B, T) to (V·B, T, H)."""
        assert batch.tokens is not None
        return self.words(batch.tokens.input_ids)

    def forward(self, batch: Batch, embeddings: Tensor | None = None, **_: Any) -> Tensor:
        """Logits (B, k)."""
        return self.logits(batch, self.pooled(batch, embeddings))

    def pooled(self, batch: Batch, embeddings: Tensor | None = None, **_: Any) -> Tensor:
        """(V, B, k)."""
        embeddings = self.embed(batch) if embeddings is None else embeddings
        return self.output(embeddings.tanh()).sum(dim=1).unflatten(0, (batch.views, -1))

    def logits(self, _batch: Batch, pooled: Tensor, **_: Any) -> Tensor:
        """(V, B, k) to (B, k)."""
        first, second = pooled
        return (first + 2 * second).sin()


def _apart(first: Tensor, second: Tensor) -> Tensor:
    """Stand for a task's divergence; not symmetric, so that its order shows."""
    return ((first - second).square() * (1 + first.square())).sum(dim=-1).mean()


def _batch(inputs: Tensors) -> Batch:
    task = replace(TASKS[COURSE_TASKS[-1]], divergence=_apart, num_outputs=_OUTPUTS)
    ids, mask = inputs["ids"], inputs["mask"]
    tokens = Padded(ids, mask, torch.zeros_like(ids), np.asarray(_LENGTHS))
    size = len(_LENGTHS) // _VIEWS
    names = tuple(str(number) for number in range(size))
    return Batch(task, names, torch.zeros(size), _VIEWS, tokens)


def _inputs(source: torch.Generator) -> Tensors:
    mask = mask_of(_LENGTHS)
    ids = torch.randint(1, 9, mask.shape, generator=source) * mask
    return {"ids": ids, "mask": mask, **weights_of(_Smooth(), source)}


def _divergence_inputs(source: torch.Generator) -> Tensors:
    first = {"first": normal(source, 4, 3), "first logit": normal(source, 4, 1)}
    second = {"second": normal(source, 4, 3), "second logit": normal(source, 4, 1)}
    return {**first, **second}


def _divergences(inputs: Tensors) -> Tensors:
    found: dict[str, Tensor] = {}
    for name, divergence, of in (
        ("symmetric KL", losses.symmetric_kl, ""),
        ("symmetric KL of Bernoullis", losses.symmetric_kl_bernoulli, " logit"),
        ("squared distance", losses.squared_distance, " logit"),
    ):
        s, t = (inputs[f"{which}{of}"].clone().requires_grad_() for which in ("first", "second"))
        value = divergence(s, t)
        slopes = gradient(value, s, t)
        found |= {name: value.detach()}
        found |= {f"gradient of {name}": torch.stack(slopes)}
    return found


def _ascent_inputs(source: torch.Generator) -> Tensors:
    gradients = normal(source, 6, 4, _SIZE)
    gradients[1] = gradients[4] = 0  # one example of three, both its texts
    return {"delta": 0.1 * normal(source, 6, 4, _SIZE), "gradient": gradients}


def _normalized(inputs: Tensors) -> Tensors:
    return {"gradient over its norm": adversarial._by_largest_entry(inputs["gradient"], _VIEWS)}


def _projected(inputs: Tensors) -> Tensors:
    moved = adversarial.projected(inputs["delta"], inputs["gradient"], 0.2, 0.15, _VIEWS)
    return {"projected": moved}


def _step(delta: Tensor, gradient: Tensor, eta: float, epsilon: float, _views: int) -> Tensor:
    """Stand for an ascent step, as `projected` is one."""
    return delta + eta * gradient + epsilon / 10


def _term(**settings: Any) -> adversarial.Adversarial:
    numbers = {"epsilon": 0.1, "sigma": 0.05, "eta": 0.03, "steps": 2}
    choices = adversarial.SmartChoices(step=_step)
    return adversarial.Adversarial(**{**numbers, **settings}, choices=choices)


def _perturbation(inputs: Tensors) -> Tensors:
    model, batch = with_weights(_Smooth(), inputs), _batch(inputs)
    training: Any = TrainingPass(model, batch, 7)  # type: ignore[arg-type]
    delta = _term().perturbation(model, batch, training)  # type: ignore[arg-type]
    found = {"perturbation": delta.detach(), "of requires_grad": torch.tensor(delta.requires_grad)}
    used = [p.grad for p in model.parameters() if p.grad is not None]
    return {**found, "gradients left in the model": torch.tensor(len(used))}


class _Given(adversarial.Adversarial):
    """The term with a perturbation that is given."""

    def perturbation(self, _model: Any, _batch: Batch, training: TrainingPass) -> Tensor:
        """A constant of the shape of the word embeddings."""
        assert training.embeddings is not None
        return _ramp(training.embeddings.detach())


def _loss(inputs: Tensors) -> Tensors:
    model, batch = with_weights(_Smooth(), inputs), _batch(inputs)
    term = _Given(dropout="off")
    return _with_slopes(model, term.loss(model, batch, TrainingPass(model, batch, 7)))  # type: ignore[arg-type]


def _with_slopes(model: nn.Module, value: Tensor) -> Tensors:
    names, params = zip(
        *((n, p) for n, p in model.named_parameters() if p.requires_grad), strict=True
    )
    slopes = gradient(value.view(1), *params)
    named = zip(names, slopes, strict=True)
    return {"term": value.detach(), **{f"gradient of {name}": slope for name, slope in named}}


def _proximal(inputs: Tensors) -> Tensors:
    """The term of a model that has moved away from its teacher, and the teacher's next move."""
    model: Any = with_weights(_Smooth(), inputs)
    term = Bregman(model, beta=0.75)
    with torch.no_grad():
        for number, param in enumerate(model.parameters()):
            param += 0.1 * (number + 1)
    batch = _batch(inputs)
    found = _with_slopes(model, term.loss(model, batch, TrainingPass(model, batch, 7)))
    pulled = [p.grad for p in term._teacher.parameters() if p.grad is not None]
    return {**found, "gradients in the teacher": torch.tensor(len(pulled))}


def _teacher(inputs: Tensors) -> Tensors:
    model: Any = with_weights(_Smooth(), inputs)
    term = Bregman(model, beta=0.75, late_beta=0.5)
    term.begin(10)  # the first step has `beta`, later ones `late_beta`
    for step in range(2):
        with torch.no_grad():
            for param in model.parameters():
                param += step + 1
        term.after_step(model)
    state = term.state_dict()
    return {f"teacher's {name}": tensor for name, tensor in state.items()}


def _noised(inputs: Tensors) -> Tensors:
    batch = _batch(inputs)
    found: dict[str, Tensor] = {}
    model: Any = with_weights(_Smooth(), inputs)
    for noise in ("normal", "uniform"):
        embeddings = model.embed(batch)
        copy = R3F(noise=noise, sigma=0.5).copy(batch, embeddings, 7)
        assert copy is not None
        (slope,) = gradient(copy, embeddings)
        found |= {f"copy with {noise} noise": copy.detach()}
        found |= {f"gradient through the copy with {noise} noise": slope}
    return found


def _r3f_loss(inputs: Tensors) -> Tensors:
    model, batch = with_weights(_Smooth(), inputs), _batch(inputs)
    term = R3F(dropout="off")
    training: Any = TrainingPass(model, batch, 7)  # type: ignore[arg-type]
    training.copies[term.name] = training.embeddings + _ramp(training.embeddings)
    return _with_slopes(model, term.loss(model, batch, training))  # type: ignore[arg-type]


def _ramp(like: Tensor) -> Tensor:
    """Stand for noise: numbers that rise from -0.3 to 0.2."""
    return torch.linspace(-0.3, 0.2, like.numel(), dtype=like.dtype).view(like.shape)


DIVERGENCES = (Exercise("values and gradients", _divergence_inputs, _divergences),)
SMART = (
    Exercise("norm", _ascent_inputs, _normalized),
    Exercise("projection", _ascent_inputs, _projected),
    Exercise("perturbation", _inputs, _perturbation),
    Exercise("adversarial term", _inputs, _loss),
    Exercise("proximal term", _inputs, _proximal),
    Exercise("teacher", _inputs, _teacher),
)
R3F_TERM = (
    Exercise("copy", _inputs, _noised),
    Exercise("term", _inputs, _r3f_loss),
)

"""SMART and R3F as they are usually written on top of a library's model.

Every branch is a forward pass of its own, with dropout on as training has it; the average of the
weights is kept tensor by tensor.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert.experiments.bench import contender
from minbert.regularizers.base import Divergence

Embeddings = Sequence[Tensor]


Addition = Callable[[Any, Any, Embeddings, Tensor], Tensor]


@dataclass(frozen=True)
class Terms:
    """A regularizer; by default none, for plain training.

    `added` makes what the task's loss gets in addition, from the model, the batch, and the training
    pass's word embeddings and logits. `after_step` is told of the model whose weights have moved.
    """

    added: Callable[[Any, Any, Embeddings, Tensor], Tensor | float] = lambda *_: 0.0
    after_step: Callable[[nn.Module], None] = lambda _model: None


def make(method: str, package: str, model: nn.Module, divergence: Divergence) -> Terms:
    """The terms of a method; SMART's adversarial one may be a `package`'s."""
    if method == "plain":
        return Terms()
    if method == "r3f":
        return Terms(partial(_r3f, divergence))
    adversarial = partial(_adversarial, divergence)
    if package != "own":
        adversarial = partial(_packaged_adversarial, import_module(package))
    smart = Smart(model, divergence, adversarial)
    return Terms(smart.added, smart.after_step)


def _r3f(
    divergence: Divergence, model: Any, batch: Any, embeddings: Embeddings, logits: Tensor
) -> Tensor:
    """λ · d(f(x), f(x + z)), z ~ N(0, σ²): a second pass, of the noised embeddings."""
    noised = [words + contender.NOISE * torch.randn_like(words) for words in embeddings]
    return contender.R3F_WEIGHT * divergence(model(batch, noised), logits)


class Smart:
    """The adversarial term with one ascent step, and the proximal term with its average."""

    def __init__(self, model: nn.Module, divergence: Divergence, adversarial: Addition) -> None:
        self._divergence, self._adversarial = divergence, adversarial
        self._teacher = copy.deepcopy(model).requires_grad_(False)

    def added(self, model: Any, batch: Any, embeddings: Embeddings, logits: Tensor) -> Tensor:
        """The two terms, at three more passes: the ascent's, the perturbed one, the average's."""
        with torch.no_grad():
            target = self._teacher(batch)
        adversarial = self._adversarial(model, batch, embeddings, logits)
        return contender.SMART_WEIGHT * adversarial + self._divergence(logits, target)

    @torch.no_grad()
    def after_step(self, model: nn.Module) -> None:
        """Move the average of the weights."""
        for average, param in zip(self._teacher.parameters(), model.parameters(), strict=True):
            average.mul_(contender.MEMORY).add_(param, alpha=1 - contender.MEMORY)


def _adversarial(
    divergence: Divergence, model: Any, batch: Any, embeddings: Embeddings, logits: Tensor
) -> Tensor:
    """SMART's adversarial term, written by hand."""
    starts = [words.detach() for words in embeddings]
    deltas = [(contender.START * torch.randn_like(start)).requires_grad_() for start in starts]
    perturbed = [start + delta for start, delta in zip(starts, deltas, strict=True)]
    climbed = divergence(model(batch, perturbed), logits.detach())
    slopes = torch.autograd.grad(climbed, deltas)
    others = [
        words + _climbed(delta, slope)
        for words, delta, slope in zip(embeddings, deltas, slopes, strict=True)
    ]
    return divergence(model(batch, others), logits)


def _climbed(delta: Tensor, slope: Tensor) -> Tensor:
    """The noise δ moved up its slope by η and put back into the ball of radius ε."""
    largest = slope.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1e-30)
    moved = delta + contender.ASCENT * slope / largest
    return moved.clamp(-contender.RADIUS, contender.RADIUS).detach()


def _packaged_adversarial(
    package: Any, model: Any, batch: Any, embeddings: Embeddings, logits: Tensor
) -> Tensor:
    """SMART's adversarial term by the package `smart_pytorch`, at its defaults.

    Over a single logit the package's softmax is always 1, so the squared difference takes the
    divergence's place there.
    """
    lengths = [words.size(1) for words in embeddings]
    several = logits.size(-1) > 1
    term = package.SMARTLoss(
        eval_fn=lambda joined: model(batch, joined.split(lengths, dim=1)),
        loss_fn=package.kl_loss if several else F.mse_loss,
        loss_last_fn=package.sym_kl_loss if several else F.mse_loss,
    )
    value: Tensor = term(torch.cat(list(embeddings), dim=1), logits)
    return value

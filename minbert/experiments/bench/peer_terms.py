"""SMART and R3F as they are usually written on top of a library's model.

Every branch is a forward pass of its own, with dropout on as training has it; the average of the
weights is kept tensor by tensor.
"""

import copy
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert.experiments.bench import contender
from minbert.regularizers.base import Divergence

Embeddings = Sequence[Tensor]


class Terms(Protocol):
    """A regularizer: what it adds to the task's loss, and what it does after a step."""

    def added(
        self, model: Any, batch: Any, embeddings: Embeddings, logits: Tensor
    ) -> Tensor | float:
        """The addition, from the training pass's word embeddings and logits."""
        ...

    def after_step(self, model: nn.Module) -> None:
        """Take note that the weights have moved."""
        ...


def make(method: str, package: str, model: nn.Module, divergence: Divergence) -> Terms:
    """The terms of a method; SMART's adversarial one may be a `package`'s."""
    if method == "plain":
        return Plain()
    if method == "r3f":
        return R3F(divergence)
    if package == "own":
        return Smart(model, divergence)
    return PackagedSmart(model, divergence, import_module(package))


class Plain:
    """Plain training, without a regularizer."""

    def added(self, _model: Any, _batch: Any, _embeddings: Embeddings, _logits: Tensor) -> float:
        """Return 0."""
        return 0.0

    def after_step(self, _model: nn.Module) -> None:
        """Nothing to do."""


class R3F:
    """λ · d(f(x), f(x + z)), z ~ N(0, σ²)."""

    def __init__(self, divergence: Divergence) -> None:
        self._divergence = divergence

    def added(self, model: Any, batch: Any, embeddings: Embeddings, logits: Tensor) -> Tensor:
        """λ times the divergence of a second pass, of the noised embeddings."""
        noised = [words + contender.NOISE * torch.randn_like(words) for words in embeddings]
        return contender.R3F_WEIGHT * self._divergence(model(batch, noised), logits)

    def after_step(self, _model: nn.Module) -> None:
        """Nothing to do."""


class Smart:
    """The adversarial term with one ascent step, and the proximal term with its average."""

    def __init__(self, model: nn.Module, divergence: Divergence) -> None:
        self._divergence = divergence
        self._teacher = copy.deepcopy(model).requires_grad_(False)

    def added(self, model: Any, batch: Any, embeddings: Embeddings, logits: Tensor) -> Tensor:
        """The two terms, at three more passes: the ascent's, the perturbed one, the average's."""
        with torch.no_grad():
            target = self._teacher(batch)
        adversarial = self._adversarial(model, batch, embeddings, logits)
        return contender.SMART_WEIGHT * adversarial + self._divergence(logits, target)

    def _adversarial(
        self, model: Any, batch: Any, embeddings: Embeddings, logits: Tensor
    ) -> Tensor:
        starts = [words.detach() for words in embeddings]
        deltas = [(contender.START * torch.randn_like(start)).requires_grad_() for start in starts]
        perturbed = [start + delta for start, delta in zip(starts, deltas, strict=True)]
        climbed = self._divergence(model(batch, perturbed), logits.detach())
        slopes = torch.autograd.grad(climbed, deltas)
        others = [
            words + _climbed(delta, slope)
            for words, delta, slope in zip(embeddings, deltas, slopes, strict=True)
        ]
        return self._divergence(model(batch, others), logits)

    @torch.no_grad()
    def after_step(self, model: nn.Module) -> None:
        """Move the average of the weights."""
        for average, param in zip(self._teacher.parameters(), model.parameters(), strict=True):
            average.mul_(contender.MEMORY).add_(param, alpha=1 - contender.MEMORY)


def _climbed(delta: Tensor, slope: Tensor) -> Tensor:
    """The noise δ moved up its slope by η and put back into the ball of radius ε."""
    largest = slope.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1e-30)
    moved = delta + contender.ASCENT * slope / largest
    return moved.clamp(-contender.RADIUS, contender.RADIUS).detach()


class PackagedSmart(Smart):
    """SMART with the adversarial term of the package `smart_pytorch`, at its defaults.

    Over a single logit the package's softmax is always 1, so the squared difference takes the
    divergence's place there.
    """

    def __init__(self, model: nn.Module, divergence: Divergence, package: Any) -> None:
        super().__init__(model, divergence)
        self._package = package

    def _adversarial(
        self, model: Any, batch: Any, embeddings: Embeddings, logits: Tensor
    ) -> Tensor:
        lengths = [words.size(1) for words in embeddings]

        def passed(joined: Tensor) -> Tensor:
            views = joined.split(lengths, dim=1)
            logits: Tensor = model(batch, views)
            return logits

        several = logits.size(-1) > 1
        term = self._package.SMARTLoss(
            eval_fn=passed,
            loss_fn=self._package.kl_loss if several else F.mse_loss,
            loss_last_fn=self._package.sym_kl_loss if several else F.mse_loss,
        )
        value: Tensor = term(torch.cat(list(embeddings), dim=1), logits)
        return value

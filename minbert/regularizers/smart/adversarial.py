"""SMART's adversarial regularizer (Jiang et al. 2020, section 2.1, algorithm 1)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.regularizers.base import Divergence, Regularizer, TrainingPass, tasks_divergence
from minbert.support.flags import PerTask
from minbert.support.randomness import derive_seed, generator
from minbert.tasks.task import Task

AscentStep = Callable[[Tensor, Tensor, float, float, int], Tensor]


def projected(delta: Tensor, gradient: Tensor, eta: float, epsilon: float, views: int) -> Tensor:
    """Π_ε(δ + η g / ‖g‖_∞), (V·B, T, H) as δ and g are."""
    return (delta + eta * _by_largest_entry(gradient, views)).clamp(-epsilon, epsilon)


def _by_largest_entry(gradient: Tensor, views: int) -> Tensor:
    """Each example's gradient, both its texts together, over its own ‖g‖_∞; 0 where that is 0."""
    by_example = gradient.unflatten(0, (views, -1))  # (V, B, T, H)
    largest = by_example.abs().amax(dim=(0, 2, 3), keepdim=True)  # (1, B, 1, 1)
    return (by_example / torch.where(largest > 0, largest, 1)).flatten(0, 1)


def slope_of_clean(delta: Tensor, logits: Tensor, training: TrainingPass, batch: Batch) -> Tensor:
    """sign(⟨∇s(x), δ⟩) ∇s(x), (V·B, T, H), for one output s and a small start δ.

    By the chain rule ∇_x̃ l_s(s(x̃), s(x)) is ∇s(x̃) times a number of the sign of s(x̃) - s(x).
    Dividing by ‖g‖_∞ cancels that number's size, so that only its sign is left. Both are taken to
    first order in δ from the clean pass, whose `logits` (B, 1) are there: no forward pass, and no
    difference of two nearly equal outputs, which in fp32 may have the wrong sign. Where s has a
    kink at x (two equal texts under |u - v|) the two gradients differ.
    """
    assert training.embeddings is not None
    (slope,) = torch.autograd.grad(logits.sum(), training.embeddings, retain_graph=True)
    rises = (slope * delta).unflatten(0, (batch.views, -1)).sum(dim=(0, 2, 3))  # (B,)
    return rises.sign().repeat(batch.views)[:, None, None] * slope


@dataclass(frozen=True)
class SmartChoices:
    """Where implementations differ. The defaults are the paper's; `method.py` has the others."""

    clipped_start: bool = True  # the ascent starts inside the ball
    climbed: Callable[[Task], Divergence] = tasks_divergence  # of (perturbed, clean) logits
    step: AscentStep = projected  # of (δ, g, η, ε, V)
    penalty: Callable[[Task], Divergence] = tasks_divergence  # of (perturbed, clean) logits
    embedded_twice: bool = False  # what is perturbed has position, type and LayerNorm in it already


class Adversarial(Regularizer):
    """R_s = mean_i max over ‖x̃ᵢ - xᵢ‖_∞ ≤ ε of l_s(f(x̃ᵢ), f(xᵢ)).

    x are the word embeddings of an example's real tokens (padding is never perturbed), f the rest
    of the model, l_s the task's divergence. The maximum is approached by projected ascent:

        x̃ ← x + N(0, σ²), clipped to the ball
        S times:  g ← ∇_x̃ l_s(f(x̃), f(x));   x̃ ← Π_ε(x̃ + η g / ‖g‖_∞)

    ‖g‖_∞ is each example's own. Where it is 0 (equal sentences under a cosine) the example keeps
    its noise. The ascent takes input gradients only; the term's gradient flows through both
    branches.
    """

    name = "adversarial"
    perturbs_inputs = True
    recordable = True

    def __init__(
        self,
        *,
        weight: PerTask = 5.0,
        epsilon: float = 1e-5,
        sigma: float = 1e-5,
        eta: float = 1e-3,
        steps: int = 1,
        dropout: str = "off",
        reuse_clean: bool = False,
        choices: SmartChoices = SmartChoices(),
    ) -> None:
        """`weight` is λ, `steps` S; `dropout` one of the policies of `TrainingPass`.

        `reuse_clean`: `slope_of_clean` is a one-output task's first gradient. It needs word
        embeddings that train and masks that are the same in both branches.
        """
        self.weight = weight
        self.epsilon, self.sigma, self.eta, self.steps = epsilon, sigma, eta, steps
        self.dropout = dropout
        self.replays_masks = dropout == "shared"
        self.reuse_clean, self._choices = reuse_clean, choices

    def loss(self, model: MultitaskBert, batch: Batch, training: TrainingPass) -> Tensor:
        """The term for this batch, a scalar."""
        target = training.clean_logits(self.dropout)
        delta = self.perturbation(model, batch, training)
        masks = training.mask_seed(self.dropout, self.name, self.steps)
        logits = model(batch, self._entry(model, batch, training) + delta, mask_seed=masks)
        return self._choices.penalty(batch.task)(logits, target)

    def perturbation(self, model: MultitaskBert, batch: Batch, training: TrainingPass) -> Tensor:
        """x̃ - x after S ascent steps, (V·B, T, H), a constant."""
        assert batch.tokens is not None
        real = batch.tokens.attention_mask.unsqueeze(-1)  # (V·B, T, 1)
        start = self._entry(model, batch, training).detach()
        target = training.clean_logits(self.dropout).detach()
        climbed = self._choices.climbed(batch.task)
        delta = self._noise(start, training.seed) * real
        for step in range(self.steps):
            if step == 0 and self.reuse_clean and batch.task.num_outputs == 1:
                logits = training.clean_logits(self.dropout)
                gradient = slope_of_clean(delta, logits, training, batch)
            else:
                delta.requires_grad_()
                masks = training.mask_seed(self.dropout, self.name, step)
                logits = model(batch, start + delta, mask_seed=masks)
                (gradient,) = torch.autograd.grad(climbed(logits, target), delta)
            delta = self._choices.step(
                delta.detach(), gradient * real, self.eta, self.epsilon, batch.views
            )
        return delta

    def _entry(self, model: MultitaskBert, batch: Batch, training: TrainingPass) -> Tensor:
        """x, (V·B, T, H): where the perturbation is added."""
        assert training.embeddings is not None
        if not self._choices.embedded_twice:
            return training.embeddings
        masks = training.mask_seed(self.dropout, self.name, "entry")
        return model.embedding_output(batch, training.embeddings, mask_seed=masks)

    def _noise(self, like: Tensor, seed: int) -> Tensor:
        source = generator(derive_seed(seed, "adversarial start"), like.device)
        noise = torch.randn(like.shape, generator=source, dtype=like.dtype, device=like.device)
        noise = self.sigma * noise
        return noise.clamp(-self.epsilon, self.epsilon) if self._choices.clipped_start else noise

"""R3F, robust representations through regularized fine-tuning (Aghajanyan et al. 2021, sec. 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.regularizers import spectral
from minbert.regularizers.base import Divergence, Regularizer, TrainingPass, tasks_divergence
from minbert.support.flags import PerTask
from minbert.support.randomness import derive_seed, generator
from minbert.tasks.course import Task


@dataclass(frozen=True)
class R3FChoices:
    """Where the published code differs from the paper, whose choices are the defaults."""

    divergence: Callable[[Task], Divergence] = tasks_divergence  # of (noised, clean) logits
    detached_words: bool = False  # the noised branch's gradient stops before the word embeddings


class R3F(Regularizer):
    """mean l_s(f(x), f(x + z)), with z ~ N(0, σ²I) or U(-σ, σ): noise instead of an adversary.

    x are the word embeddings of an example's real tokens (padding gets no noise), f the rest of
    the model, l_s the task's divergence; gradients flow through both branches. The paper has the
    symmetric KL, which is undefined for a regression; there l_s is the squared error.

    Clean and noised examples go through the encoder together, each with dropout masks of its own
    (`independent`), as in the published code: at σ = 1e-5 the term then measures dropout far more
    than noise, which `probe` puts into the log.
    """

    perturbs_inputs = True

    def __init__(
        self,
        *,
        weight: PerTask = 1.0,
        noise: str = "normal",
        sigma: float = 1e-5,
        dropout: str = "independent",
        normalized_heads: bool = False,
        choices: R3FChoices = R3FChoices(),
    ) -> None:
        """`weight` is λ; `noise` normal or uniform; `dropout` a policy of `TrainingPass`.

        `normalized_heads` makes it R4F's: the heads are normalised (`spectral.py`), and what that
        rests on follows the weights after each step.
        """
        self.name = "r4f" if normalized_heads else "r3f"
        self.weight, self.noise, self.sigma, self.dropout = weight, noise, sigma, dropout
        self.replays_masks = dropout == "shared"
        self._choices = choices

    def beside(self, batch: Batch, embeddings: Tensor | None, seed: int) -> Tensor | None:
        """The noised examples, where their masks are to be fresh ones."""
        if self.dropout != "independent" or embeddings is None:
            return None
        return self._noised(batch, embeddings, seed)

    def loss(self, _model: MultitaskBert, batch: Batch, clean: TrainingPass) -> Tensor:
        """The term for this batch, a scalar."""
        assert clean.embeddings is not None
        noised = self._noised(batch, clean.embeddings, clean.seed)
        target, logits = clean.pair(self.name, noised, self.dropout)
        return self._choices.divergence(batch.task)(logits, target)

    @torch.no_grad()
    def probe(self, model: MultitaskBert, batch: Batch, clean: TrainingPass) -> dict[str, Tensor]:
        """What the term would be of dropout alone, and of noise alone (shared masks)."""
        assert clean.embeddings is not None
        noised = self._noised(batch, clean.embeddings, clean.seed)
        apart = self._choices.divergence(batch.task)
        plain = model(batch, clean.embeddings, mask_seed=clean.seed)
        other = derive_seed(clean.seed, "probe")
        of_dropout = model(batch, clean.embeddings, mask_seed=other)
        of_noise = model(batch, noised, mask_seed=clean.seed)
        return {
            f"{self.name}_of_dropout": apart(of_dropout, plain),
            f"{self.name}_of_noise": apart(of_noise, plain),
        }

    def after_step(self, model: MultitaskBert) -> None:
        """Let normalised heads follow their weights."""
        spectral.refresh(model)

    def _noised(self, batch: Batch, embeddings: Tensor, seed: int) -> Tensor:
        assert batch.tokens is not None
        source = generator(derive_seed(seed, "r3f noise"), embeddings.device)
        noise = torch.empty_like(embeddings).detach()
        if self.noise == "normal":
            noise.normal_(generator=source)
        else:
            noise.uniform_(-1, 1, generator=source)
        real = batch.tokens.attention_mask.unsqueeze(-1)  # (V·B, T, 1)
        if self._choices.detached_words:
            embeddings = embeddings.detach()
        return embeddings + self.sigma * noise * real

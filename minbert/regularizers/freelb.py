"""FreeLB, "free" large-batch adversarial training (Zhu et al. 2020, algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.support.flags import PerTask, for_task
from minbert.support.randomness import derive_seed, generator

# of the published scripts: SST-2, QQP and STS-B; long reviews take the sentences' values
PUBLISHED_INIT = {"sst": 1.0, "para": 0.32, "sts": 0.16, "cfimdb": 1.0}
PUBLISHED_RADIUS = {"sst": 0.6, "para": 0.7, "sts": 0.28, "cfimdb": 0.6}


class FreeLB:
    """The mean of K losses along an ascent, instead of the loss at x: K passes and K - 1 updates.

        δ₀ = U(-1, 1) · m / √(L · d)                       (`init`; L real tokens, d hidden size)
        for t = 1, ..., K:
            g_θ ← g_θ + ∇_θ l(f(x + δ), y) / K
            g   ← ∇_δ l(f(x + δ), y)
            δ   ← Π(δ + α g / ‖g‖_F),   ‖δ‖_F ≤ ε          (`step_size`, `radius`; not after t = K)

    δ, L and the Frobenius norms are each example's own, both texts of a pair together; padding is
    never perturbed. All K passes have the same dropout masks, and run in full precision. One
    backward pass serves θ and δ, so a step costs K ordinary ones.
    """

    perturbs_inputs = True

    def __init__(
        self,
        *,
        steps: int = 2,
        step_size: PerTask = 0.1,
        init: PerTask | None = None,
        radius: PerTask | None = None,
    ) -> None:
        """`steps` is K, `step_size` α, `init` m, `radius` ε; None takes the published values."""
        self.steps, self.step_size = steps, step_size
        self.init = PUBLISHED_INIT if init is None else init
        self.radius = PUBLISHED_RADIUS if radius is None else radius

    def backward(
        self,
        model: MultitaskBert,
        batch: Batch,
        seed: int,
        step: int | None = None,  # noqa: ARG002  nothing depends on it
    ) -> dict[str, Tensor]:
        """Add the mean gradient of the K passes.

        Returns detached scalars: `loss`, the mean of the K losses; `task_loss`, the first, at δ₀;
        and `freelb_rise`, by how much the last exceeds it.
        """
        losses: list[Tensor] = []
        delta = self.start(model, batch, seed)
        for number in range(self.steps):
            last = number == self.steps - 1
            delta = delta.detach().requires_grad_(not last)
            embeddings = model.embed(batch)
            assert embeddings is not None
            logits = model(batch, embeddings + delta, mask_seed=seed)
            loss = batch.task.loss(logits, batch.labels)
            (loss / self.steps).backward()
            losses.append(loss.detach())
            if not last:
                assert delta.grad is not None
                delta = self.moved(delta.detach(), delta.grad, batch)
        rise = losses[-1] - losses[0]
        return {"loss": torch.stack(losses).mean(), "task_loss": losses[0], "freelb_rise": rise}

    def start(self, model: MultitaskBert, batch: Batch, seed: int) -> Tensor:
        """δ₀, (V·B, T, H)."""
        assert batch.tokens is not None
        mask = batch.tokens.attention_mask.unflatten(0, (batch.views, -1))  # (V, B, T)
        table = model.encoder.word_embeddings.weight
        noise = table.new_empty(*mask.shape, table.size(1))  # (V, B, T, H)
        noise.uniform_(-1, 1, generator=generator(derive_seed(seed, "freelb"), table.device))
        tokens = mask.sum(dim=(0, 2)).to(table.dtype)  # L, (B,)
        scale = for_task(self.init, batch.name) / (tokens * table.size(1)).sqrt()
        return (noise * mask.unsqueeze(-1) * scale[:, None, None]).flatten(0, 1)

    def moved(self, delta: Tensor, gradient: Tensor, batch: Batch) -> Tensor:
        """δ after an update from `gradient`, inside its ball."""
        assert batch.tokens is not None
        gradient = gradient * batch.tokens.attention_mask.unsqueeze(-1)
        length = _norms(gradient, batch.views)
        ascent = gradient / torch.where(length > 0, length, 1)
        delta = delta + for_task(self.step_size, batch.name) * ascent
        size = _norms(delta, batch.views)
        limit = for_task(self.radius, batch.name)
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

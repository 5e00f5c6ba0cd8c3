"""What a regularizer is, and the record of the training pass that it works from."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from minbert.batching import Batch
from minbert.model import MultitaskBert
from minbert.runtime import derive_seed


class TrainingPass:
    """One training pass, and the exact clean passes that terms asked for since, each run once.

    `embeddings` (V·B, T, H) are the batch's word embeddings, `seed` decides the dropout masks,
    `logits` (B, k) may have been computed in lower precision.

    Dropout policies: `off`, no dropout in either branch; `shared`, the masks of the training pass
    in both; `independent`, those masks in the clean branch and fresh ones in the other.
    """

    def __init__(self, model: MultitaskBert, batch: Batch, seed: int) -> None:
        self._model, self._batch, self.seed = model, batch, seed
        self.embeddings = model.embed(batch)
        self.logits = model(batch, self.embeddings, mask_seed=seed, exact=False)
        self._branches: dict[int | None, Tensor] = {}
        if not model.lowers_precision:
            self._branches[seed] = self.logits
            if not model.has_dropout:
                self._branches[None] = self.logits

    def clean_branch(self, dropout: str) -> Tensor:
        """Logits (B, k) of the unperturbed batch in the weights' precision, with gradients."""
        seed = None if dropout == "off" else self.seed
        if seed not in self._branches:
            self._branches[seed] = self._model(self._batch, self.embeddings, mask_seed=seed)
        return self._branches[seed]

    def mask_seed(self, dropout: str, *draw: str | int) -> int | None:
        """The masks of the other branch; `draw` tells independent passes apart."""
        if dropout == "independent":
            return derive_seed(self.seed, "independent masks", *draw)
        return None if dropout == "off" else self.seed


class Regularizer(Protocol):
    """A term added to the task's loss: `weight` · `loss(...)`."""

    name: str
    weight: float
    perturbs_inputs: bool

    def loss(self, model: MultitaskBert, batch: Batch, clean: TrainingPass) -> Tensor:
        """The unweighted term, a scalar, with gradients."""
        ...

    def after_step(self, model: MultitaskBert) -> None:
        """Called after every optimizer step, whatever its task."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs back."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore `state_dict()`."""
        ...

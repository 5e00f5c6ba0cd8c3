"""What a regularizer is, and the record of the training pass that it works from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from minbert.data.batches import Batch, stacked
from minbert.model import MultitaskBert
from minbert.support.flags import PerTask
from minbert.support.randomness import derive_seed
from minbert.tasks.course import Task

Divergence = Callable[[Tensor, Tensor], Tensor]  # logits (B, k) of two branches -> scalar


def tasks_divergence(task: Task) -> Divergence:
    """The one that belongs to the task: what every term measures, unless it imitates another's."""
    return task.divergence


class TrainingPass:
    """One training pass, and the exact clean passes that terms asked for since, each run once.

    `embeddings` (V·B, T, H) are the batch's word embeddings, `seed` decides the dropout masks,
    `logits` (B, k) may have been computed in lower precision. Terms may put rows of their own
    beside the batch's (`beside`); these get masks of their own.

    Dropout policies: `off`, no dropout in either branch; `shared`, the masks of the training pass
    in both; `independent`, those masks in the clean branch and fresh ones in the other.
    """

    def __init__(
        self,
        model: MultitaskBert,
        batch: Batch,
        seed: int,
        terms: Sequence[Regularizer] = (),
    ) -> None:
        self._model, self._batch, self.seed = model, batch, seed
        self.embeddings = model.embed(batch)
        self._beside: dict[str, Tensor] = {}
        rows = self._rows_beside(terms)
        if rows:
            self.logits, *others = self._together(list(rows.values()), seed)
            self._beside = dict(zip(rows, others, strict=True))
        else:
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

    def pair(self, name: str, perturbed: Tensor, dropout: str) -> tuple[Tensor, Tensor]:
        """Logits of the batch and of its `perturbed` embeddings (V·B, T, H), both exact.

        One pass for both, where neither masks must be replayed nor the first is there already.
        """
        if name in self._beside:
            return self.logits, self._beside[name]
        seed = None if dropout == "off" else self.seed
        if dropout == "shared" or seed in self._branches:
            masks = self.mask_seed(dropout, name)
            return self.clean_branch(dropout), self._model(self._batch, perturbed, mask_seed=masks)
        clean, other = self._together([perturbed], seed)
        if seed is None:
            self._branches[None] = clean
        return clean, other

    def _rows_beside(self, terms: Sequence[Regularizer]) -> dict[str, Tensor]:
        """What terms add to the training pass: nothing where its logits are no exact branch, or
        where another term replays its masks, which more rows would change.
        """
        if self._model.lowers_precision or any(term.replays_masks for term in terms):
            return {}
        rows = {term.name: term.beside(self._batch, self.embeddings, self.seed) for term in terms}
        return {name: own for name, own in rows.items() if own is not None}

    def _together(self, others: Sequence[Tensor], seed: int | None) -> tuple[Tensor, ...]:
        """Logits of the batch and of other embeddings for it, from one pass."""
        assert self.embeddings is not None
        rows = [self.embeddings, *others]
        batch = self._batch.repeated(len(rows))
        logits: Tensor = self._model(batch, stacked(rows, self._batch.views), mask_seed=seed)
        return logits.chunk(len(rows))

    def mask_seed(self, dropout: str, *draw: str | int) -> int | None:
        """The masks of the other branch; `draw` tells independent passes apart."""
        if dropout == "independent":
            return derive_seed(self.seed, "independent masks", *draw)
        return None if dropout == "off" else self.seed


class Regularizer(Protocol):
    """A term added to the task's loss: `weight` · `loss(...)`.

    What most terms have no use for has a body here that does nothing, for them to inherit.
    """

    name: str
    weight: PerTask
    perturbs_inputs: bool = False
    replays_masks: bool = False  # needs the training pass's own masks once more

    def beside(self, _batch: Batch, _embeddings: Tensor | None, _seed: int) -> Tensor | None:
        """Embeddings (V·B, T, H) to run in the training pass, beside the batch's; None for none."""
        return None

    def loss(self, model: MultitaskBert, batch: Batch, clean: TrainingPass) -> Tensor:
        """The unweighted term, a scalar, with gradients."""
        ...

    def probe(
        self, _model: MultitaskBert, _batch: Batch, _clean: TrainingPass
    ) -> dict[str, Tensor]:
        """Now and then: what the log should know beside the term itself, without gradients."""
        return {}

    def after_step(self, _model: MultitaskBert) -> None:
        """Called after every optimizer step, whatever its task."""
        return

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs back."""
        return {}

    def load_state_dict(self, _state: dict[str, Tensor]) -> None:
        """Restore `state_dict()`."""
        return

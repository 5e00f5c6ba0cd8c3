"""What a regularizer is, and the record of the training pass that it works from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from minbert.data.batches import Batch, stacked
from minbert.model import MultitaskBert
from minbert.support.flags import PerTask
from minbert.support.randomness import derive_seed
from minbert.tasks.task import Task

Divergence = Callable[[Tensor, Tensor], Tensor]  # logits (B, k) of two branches -> scalar


def tasks_divergence(task: Task) -> Divergence:
    """The divergence that belongs to the task: what every term of the papers measures."""
    return task.divergence


class TrainingPass:
    """One training pass, and the exact clean passes that terms asked for since, each run once.

    `embeddings` (V·B, T, H) are the batch's word embeddings, `seed` decides the dropout masks,
    `logits` (B, k) may have been computed in lower precision, and `copies` are the embeddings of
    the perturbed copies (V·B, T, H) that terms made of the batch before the pass, by the terms'
    names. A term asks in two ways: `clean_logits` for the batch as it is, `pair_logits` for the
    batch and the term's copy of it.

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
        made = {term.name: term.copy(batch, self.embeddings, seed) for term in terms}
        self.copies = {name: rows for name, rows in made.items() if rows is not None}
        # Copies with masks of their own run in one pass with the batch, also in bf16: what they
        # measure is dropout, next to which rounding is nothing. Without dropout it would be all,
        # and where a term must use these masks once more, a larger batch would draw others.
        coarse = model.lowers_precision and not model.has_dropout
        alone = coarse or any(term.replays_masks for term in terms)
        beside = [t.name for t in terms if t.name in self.copies and t.dropout == "independent"]
        self._pooled: Tensor | None = None  # of an encoder without dropout, for exact clean logits
        self._copied: dict[str, Tensor] = {}  # logits of copies that went through with the batch
        if beside and not alone:
            copies = [self.copies[name] for name in beside]
            self.logits, *others = self._together(copies, seed, exact=False)
            self._copied = dict(zip(beside, others, strict=True))
        elif model.lowers_precision:
            self.logits = model(batch, self.embeddings, mask_seed=seed, exact=False)
        else:
            self.logits = self._exact_logits(seed)
        self._branches: dict[int | None, Tensor] = {}  # seed of the masks -> exact clean logits
        if not model.lowers_precision:
            self._branches[seed] = self.logits
            if not model.has_dropout:
                self._branches[None] = self.logits

    def clean_logits(self, dropout: str) -> Tensor:
        """Logits (B, k) of the unperturbed batch in the weights' precision, with gradients."""
        seed = None if dropout == "off" else self.seed
        if seed not in self._branches:
            self._branches[seed] = self._exact_logits(seed)
        return self._branches[seed]

    def _exact_logits(self, seed: int | None) -> Tensor:
        """Logits of the unperturbed batch under the masks of `seed`; they may share a pass."""
        if self._model.encoder_has_dropout:
            return self._model(self._batch, self.embeddings, mask_seed=seed)
        if self._pooled is None:
            # with the seed, though nothing is drawn by it: the model's mode need not change
            self._pooled = self._model.pooled(self._batch, self.embeddings, mask_seed=seed)
        return self._model.logits(self._batch, self._pooled, mask_seed=seed)

    def pair_logits(self, name: str, dropout: str) -> tuple[Tensor, Tensor]:
        """Logits (B, k) of the batch and of the copy that the term `name` made of it.

        Both are exact, but for copies that went through with the batch. It takes two passes if
        both need the same masks, or if the clean branch's pass was made already; otherwise one
        pass computes both.
        """
        if name in self._copied:
            return self.logits, self._copied[name]
        copy, seed = self.copies[name], None if dropout == "off" else self.seed
        if dropout == "shared" or seed in self._branches or self._pooled is not None:
            masks = self.mask_seed(dropout, name)
            return self.clean_logits(dropout), self._model(self._batch, copy, mask_seed=masks)
        logits, copied = self._together([copy], seed)
        if seed is None:
            self._branches[None] = logits
        return logits, copied

    def mask_seed(self, dropout: str, *draw: str | int) -> int | None:
        """The seed of the perturbed branch's masks; `draw` tells independent passes apart."""
        if dropout == "independent":
            return derive_seed(self.seed, "independent masks", *draw)
        return None if dropout == "off" else self.seed

    def _together(
        self, copies: Sequence[Tensor], seed: int | None, *, exact: bool = True
    ) -> tuple[Tensor, ...]:
        """Logits of the batch and of copies of it, from one pass."""
        assert self.embeddings is not None
        rows = [self.embeddings, *copies]
        batch = self._batch.repeated(len(rows))
        together = stacked(rows, self._batch.views)
        logits: Tensor = self._model(batch, together, mask_seed=seed, exact=exact)
        return logits.chunk(len(rows))


class Regularizer(Protocol):
    """A term added to the task's loss: `weight` · `loss(...)`.

    What most terms have no use for has a body here that does nothing, for them to inherit.
    """

    name: str
    weight: PerTask
    dropout: str = "off"  # a policy of `TrainingPass`
    perturbs_inputs: bool = False
    replays_masks: bool = False  # needs the training pass's own masks once more
    recordable: bool = False  # `loss` and `copy` are as `Differentiable.recordable` asks

    def copy(self, _batch: Batch, _embeddings: Tensor | None, _seed: int) -> Tensor | None:
        """The embeddings (V·B, T, H) of a perturbed copy of the batch; None for a term without."""
        return None

    def begin(self, _steps: int) -> None:
        """Called before the first step of a run of so many optimizer steps."""
        return

    def loss(self, model: MultitaskBert, batch: Batch, training: TrainingPass) -> Tensor:
        """The unweighted term with gradients: a scalar, a mean over the batch's examples."""
        ...

    def probe(
        self, _model: MultitaskBert, _batch: Batch, _training: TrainingPass
    ) -> dict[str, Tensor]:
        """What the log should know beside the term itself, now and then, without gradients."""
        return {}

    def after_step(self, _model: MultitaskBert) -> None:
        """Called after every optimizer step, whatever its task."""
        return

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors that a resumed run needs back."""
        return {}

    def load_state_dict(self, _state: dict[str, Tensor]) -> None:
        """Restore `state_dict()`."""
        return

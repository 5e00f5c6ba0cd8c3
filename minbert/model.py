"""The multitask model: an encoder, a head for each task, and the pass from a batch to logits.

A pass can be replayed: word embeddings and the seed of the dropout masks determine its logits.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from minbert.data.batches import Batch, Padded
from minbert.encoder.bert import BertModel
from minbert.encoder.dropout import Dropout
from minbert.encoder.int8 import in_int8
from minbert.encoder.selection import cls_token, every_token
from minbert.encoder.split_products import SplitProducts
from minbert.support.device import at_least_fp32
from minbert.support.randomness import seeded


class MultitaskBert(nn.Module):
    """Encoder → pooled vectors → dropout → (relational layer) → the task's head → logits.

    Dimensions: B examples of V texts each, T tokens of the longest text, H hidden size, k outputs.
    """

    def __init__(
        self,
        encoder: BertModel,
        heads: Mapping[str, nn.Module],
        *,
        relational: nn.Module | None = None,
        relational_tasks: frozenset[str] = frozenset(),
        pooling: str = "cls",
        head_dropout: float = 0.3,
        autocast: torch.dtype | None = None,
        frozen_encoder: bool = False,
        frozen_dropout: bool = False,
        int8: bool = False,
        split_products: bool = False,
    ) -> None:
        """Assemble the model.

        `autocast` is the lower precision of training passes, None for the weights' own. Where there
        is one, `split_products` makes fp32 passes faster (`encoder/split_products.py`). `int8`
        scores in 8-bit integers. `frozen_encoder` takes the encoder's weights out of training; the
        encoder then runs without dropout unless `frozen_dropout`.
        """
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)
        self.relational = relational
        self._relational_tasks = relational_tasks
        self._pooling = pooling
        self._head_dropout = Dropout(head_dropout)
        self._autocast, self._int8 = autocast, int8
        self._splits = split_products and autocast is not None
        self.frozen_encoder = frozen_encoder
        self._encoder_dropout = frozen_dropout or not frozen_encoder
        encoder.requires_grad_(not frozen_encoder)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.encoder.pooler.weight.device

    @property
    def lowers_precision(self) -> bool:
        """Whether training passes run below fp32, so that their logits are not exact."""
        return self._autocast is not None

    @property
    def has_dropout(self) -> bool:
        """Whether any dropout acts in a training pass, so that the masks' seed matters."""
        related = self.relational is not None and any(
            isinstance(module, nn.Dropout) and module.p > 0 for module in self.relational.modules()
        )
        return related or self._head_dropout.p > 0 or self.encoder_has_dropout

    @property
    def encoder_has_dropout(self) -> bool:
        """Whether it acts in the encoder; otherwise pooled vectors are the same under all masks."""
        return self._encoder_dropout and self.encoder.config.has_dropout

    def embed(self, batch: Batch) -> Tensor | None:
        """Word embeddings (V·B, T, H) of a batch; None for a batch that carries features."""
        return None if batch.tokens is None else self.encoder.embed(batch.tokens.input_ids)

    def forward(
        self,
        batch: Batch,
        embeddings: Tensor | None = None,
        *,
        mask_seed: int | None = None,
        exact: bool = True,
    ) -> Tensor:
        """Logits (B, k) of a batch, from `embeddings` (V·B, T, H) in place of its own if given.

        `mask_seed` switches dropout on and decides all its masks; None switches it off. `exact`
        runs in the weights' precision, otherwise the encoder has the training pass's autocast.
        """
        with self._masks(mask_seed):
            with self._precision(exact):
                pooled = self._pooled(batch, embeddings)
            return self._logits(batch, at_least_fp32(pooled))

    def logits(self, batch: Batch, pooled: Tensor, *, mask_seed: int | None) -> Tensor:
        """Logits (B, k) from pooled vectors (V, B, H).

        They are those of a pass under `mask_seed` where the encoder has no dropout.
        """
        with self._masks(mask_seed):
            return self._logits(batch, pooled)

    def pooled(
        self, batch: Batch, embeddings: Tensor | None = None, *, mask_seed: int | None = None
    ) -> Tensor:
        """Pooled vectors (V, B, H) before the heads' dropout, replayable as exact logits are."""
        with self._masks(mask_seed), self._precision(True):
            return self._pooled(batch, embeddings)

    def embedding_output(
        self, batch: Batch, embeddings: Tensor, *, mask_seed: int | None
    ) -> Tensor:
        """The input of the encoder's first layer, (V·B, T, H), under the masks of `mask_seed`."""
        assert batch.tokens is not None
        with self._masks(mask_seed):
            return self.encoder.embedding_output(embeddings, batch.tokens.types)

    def pool(
        self, tokens: Padded, embeddings: Tensor | None = None, *, scoring: bool = False
    ) -> Tensor:
        """One vector a text, (V·B, H), before the heads' dropout; `scoring` needs no gradient."""
        if embeddings is None:
            embeddings = self.encoder.embed(tokens.input_ids)
        mask, types = tokens.attention_mask, tokens.types
        select = cls_token if self._pooling == "cls" else every_token
        outputs = self.encoder.encode(
            embeddings,
            mask,
            types,
            select=select,
            token_count=tokens.real,
            computed=tokens.computed,
            scoring=scoring,
        )
        if self._pooling == "cls":
            return outputs["pooler_output"]
        hidden = outputs["last_hidden_state"]
        mask = mask.unsqueeze(-1).to(hidden.dtype)  # (V·B, T, 1)
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1)

    def scoring_precision(self, *, exact: bool = True) -> contextlib.AbstractContextManager[Any]:
        """Compute linear layers in 8-bit integers within the block, if the model scores so.

        Otherwise in the weights' precision, or, unless `exact`, in the training pass's.
        """
        return in_int8(self.encoder.layers) if self._int8 else self._precision(exact)

    def head_chain(self, task: str) -> list[nn.Module]:
        """The modules from pooled vectors to a task's logits, in order."""
        if self.relational is None or task not in self._relational_tasks:
            return [self.heads[task]]
        return [self.relational, self.heads[task]]

    def has_head_weights(self, task: str) -> bool:
        """Whether any weights lie between pooled vectors and a task's logits: a cosine has none."""
        return any(True for module in self.head_chain(task) for _ in module.parameters())

    def _pooled(self, batch: Batch, embeddings: Tensor | None) -> Tensor:
        if batch.tokens is None:
            assert batch.features is not None
            return batch.features
        return self.pool(batch.tokens, embeddings).unflatten(0, (batch.views, -1))  # (V, B, H)

    def _logits(self, batch: Batch, pooled: Tensor) -> Tensor:
        """Pooled vectors (V, B, H) to logits (B, k): dropout, then the task's `head_chain`.

        An example has one mask, (B, H), the same for both texts of a pair. Under two masks a text
        would differ from itself, and the expected cosine of equal texts would be 0.7, not 1.
        """
        keep = self._head_dropout(torch.ones_like(pooled[0]))  # (B, H): 0 or 1 / (1 - p)
        features = pooled * keep
        for module in self.head_chain(batch.task.name):
            features = module(features)
        return features

    def _masks(self, seed: int | None) -> contextlib.AbstractContextManager[None]:
        """Switch dropout on with the masks of `seed`, or off for None."""
        on = seed is not None
        in_encoder = on and self._encoder_dropout
        if self.training != on or self.encoder.training != in_encoder:
            self.train(on)
            self.encoder.train(in_encoder)
        return contextlib.nullcontext() if seed is None else seeded(seed, self.device)

    def _precision(self, exact: bool) -> contextlib.AbstractContextManager[Any]:
        if exact and self._splits:
            return SplitProducts()
        enabled = not exact and self._autocast is not None
        return torch.autocast(self.device.type, dtype=self._autocast, enabled=enabled)

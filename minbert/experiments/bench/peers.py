"""The reference library as a contender: as a user gets it, and tuned by someone who knows it.

Used plainly, it has torch's default AdamW, random batches padded to their longest text, and an
encoder pass for each text of a pair. Tuned, it has fused AdamW, batches of similar length and one
pass for both texts of a pair; on a GPU also bf16 and compilation. Attention is torch's kernel
either way, which is the library's default.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from minbert.experiments.bench import peer_terms
from minbert.experiments.bench.contender import (
    LR,
    METHODS,
    WORKS,
    Material,
    TokenCount,
    update_alone,
)
from minbert.tasks.heads import DifferenceHead, VectorHead
from minbert.training.sampling import POOL

RowNumbers = NDArray[np.int64]
PairIds = Sequence[Sequence[list[int]]]  # [text of a pair][row]


@dataclass(frozen=True)
class PeerBatch:
    """The library's input: one padded tensor for each text of a pair, or one for both."""

    inputs: Sequence[Mapping[str, Tensor]]
    labels: Tensor
    texts: int  # an example's

    @property
    def tokens(self) -> tuple[int, int]:
        """The number of tokens, without padding and with it."""
        masks = [text["attention_mask"] for text in self.inputs]
        return sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks)


class PeerModel(nn.Module):
    """The library's encoder, dropout, and a linear head over [u] or [u, v, |u - v|]."""

    def __init__(self, encoder: nn.Module, head: nn.Linear, dropout: float) -> None:
        super().__init__()
        self.encoder, self.head, self.dropout = encoder, head, nn.Dropout(dropout)

    def embed(self, batch: PeerBatch) -> list[Tensor]:
        """The word embeddings of every input."""
        embeddings: Any = self.encoder.get_input_embeddings()  # type: ignore[operator]
        return [embeddings(text["input_ids"]) for text in batch.inputs]

    def forward(self, batch: PeerBatch, embeddings: Sequence[Tensor] | None = None) -> Tensor:
        """Logits (B, k)."""
        if embeddings is None:
            embeddings = self.embed(batch)
        pooled = [
            self.encoder(inputs_embeds=words, attention_mask=text["attention_mask"]).pooler_output
            for words, text in zip(embeddings, batch.inputs, strict=True)
        ]
        views = self.dropout(torch.cat(pooled)).chunk(batch.texts)
        if len(views) == 1:
            return self.head(views[0])
        u, v = views
        return self.head(torch.cat([u, v, (u - v).abs()], dim=-1))


class Peer:
    """`transformers`, used in one of the two ways, or with the terms of another package."""

    def __init__(self, material: Material, *, tuned: bool, terms: str = "own") -> None:
        """`terms`: SMART written by hand (`own`), or that of `smart_pytorch`.

        Raises ImportError where a package is not installed.
        """
        self._library = import_module("transformers")
        self._library.logging.set_verbosity_error()
        self._library.logging.disable_progress_bar()
        self._material, self._tuned, self._terms = material, tuned, terms
        self._made: tuple[PeerModel, dict[str, Tensor]] | None = None
        self.name = "transformers, tuned" if tuned else "transformers, as used"
        self.works: Sequence[str] = tuple(WORKS)
        if terms != "own":
            import_module(terms)
            self.name, self.works = f"{terms} on transformers", ("smart",)
        self._tokenizer = self._library.AutoTokenizer.from_pretrained(material.folder)
        self._pad = self._library.DataCollatorWithPadding(self._tokenizer)
        self._ids = self._tokenized(len(material.split.examples))
        self._labels = torch.tensor(
            [float(example.label or 0) for example in material.split.examples]
        )

    def loss(self, count: int) -> float:
        """The task's loss of the first rows as one batch, without dropout, in fp32."""
        model = self._model().eval()
        batch = self._batch(self._ids, np.arange(count))
        with torch.no_grad():
            return _loss(model(batch), batch.labels).item()

    def prepared(self, work: str, batch_size: int) -> Callable[[int], TokenCount]:
        """The work as a function, to be called with the number of the time."""
        model = self._model()
        count = self._material.rows_of(work, batch_size)
        if work in ("inference", "int8"):
            drawn = partial(self._drawn, self._ids, count, batch_size, None)
            return lambda _number: self._predict(model, drawn())
        if work == "adamw":
            return update_alone(model.parameters(), self._optimizer(model.parameters()))
        trained: nn.Module = model
        if work == "frozen":
            model.encoder.requires_grad_(False).eval()
            trained = model.head
        optimizer = self._optimizer(trained.parameters())
        divergence = self._material.split.task.divergence
        terms = peer_terms.make(METHODS.get(work, "plain"), self._terms, model, divergence)

        def steps(number: int) -> TokenCount:
            ids = self._tokenized(count) if work == "epoch" else self._ids
            batches = self._drawn(ids, count, batch_size, number)
            return self._trained(model, terms, optimizer, batches)

        return steps

    def _model(self) -> PeerModel:
        """The model with the common weights; it is compiled once, and then made anew in place."""
        if self._made is None:
            model = self._new_model()
            self._made = model, copy.deepcopy(model.state_dict())
        model, weights = self._made
        model.load_state_dict(weights)
        model.requires_grad_(True).zero_grad()
        return model.train()

    def _new_model(self) -> PeerModel:
        library, material = self._library.BertModel, self._material
        encoder = library.from_pretrained(material.folder, dtype=torch.float32)
        source = material.model.heads[material.task]
        assert isinstance(source, (VectorHead, DifferenceHead))
        head = nn.Linear(source.output.in_features, source.output.out_features)
        head.load_state_dict(source.output.state_dict())
        model = PeerModel(encoder, head, material.job.hidden_dropout_prob).to(material.device)
        if self._tuned and material.device.type == "cuda":
            model.encoder.compile(dynamic=True)
        return model

    def _optimizer(self, params: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(params, lr=LR, fused=self._tuned or None)

    def _tokenized(self, count: int) -> PairIds:
        """Token ids of the first rows."""
        examples = self._material.split.examples[:count]
        columns = zip(*(example.texts for example in examples), strict=True)
        return [self._tokenizer(list(texts))["input_ids"] for texts in columns]

    def _drawn(
        self, ids: PairIds, count: int, batch_size: int, number: int | None
    ) -> Iterator[PeerBatch]:
        """The first rows in batches: shuffled by `number`, or in their order for None."""
        how: dict[str, Any] = {"batch_size": batch_size}
        if self._tuned:
            lengths = np.max([[len(text) for text in view[:count]] for view in ids], axis=0)
            how = {"batch_sampler": _grouped(lengths, batch_size, number)}
        elif number is not None:
            how |= {"shuffle": True, "generator": torch.Generator().manual_seed(number)}
        rows: Any = range(count)
        return iter(
            DataLoader(rows, collate_fn=lambda part: self._batch(ids, np.asarray(part)), **how)
        )

    def _batch(self, ids: PairIds, rows: RowNumbers) -> PeerBatch:
        views = [[{"input_ids": view[row]} for row in rows] for view in ids]
        if self._tuned:
            views = [[text for view in views for text in view]]
        inputs = [self._pad(view).to(self._material.device) for view in views]
        return PeerBatch(inputs, self._labels[rows].to(self._material.device), len(ids))

    def _trained(
        self,
        model: PeerModel,
        terms: peer_terms.Terms,
        optimizer: torch.optim.Optimizer,
        batches: Iterator[PeerBatch],
    ) -> TokenCount:
        tokens, precision = TokenCount(), self._material.job.precision if self._tuned else "fp32"
        for batch in batches:
            train_step(model, terms, optimizer, batch, lowered=precision == "bf16")
            tokens.add(*batch.tokens)
        return tokens

    def _predict(self, model: PeerModel, batches: Iterator[PeerBatch]) -> TokenCount:
        tokens = TokenCount()
        model.eval()
        with torch.inference_mode():
            for batch in batches:
                model(batch).cpu()
                tokens.add(*batch.tokens)
        return tokens


def train_step(
    model: PeerModel,
    terms: peer_terms.Terms,
    optimizer: torch.optim.Optimizer,
    batch: PeerBatch,
    *,
    lowered: bool,
) -> None:
    """Make a training step as one does with the library; `lowered` runs it in bf16."""
    lower = torch.bfloat16 if lowered else None
    with torch.autocast(batch.labels.device.type, lower, enabled=lowered):
        embeddings = model.embed(batch)
        logits = model(batch, embeddings)
        loss = _loss(logits, batch.labels) + terms.added(model, batch, embeddings, logits)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    terms.after_step(model)


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    if logits.size(-1) > 1:
        return F.cross_entropy(logits.float(), labels.long())
    return F.binary_cross_entropy_with_logits(logits.float().squeeze(-1), labels)


def _grouped(lengths: RowNumbers, batch_size: int, number: int | None) -> list[list[int]]:
    """Group rows into batches of similar length, 50 batches sorted together, in random order."""
    source = np.random.default_rng(number)
    rows = np.arange(len(lengths)) if number is None else source.permutation(len(lengths))
    pool = len(rows) if number is None else POOL * batch_size
    batches = []
    for first in range(0, len(rows), pool):
        part = rows[first : first + pool]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[n : n + batch_size].tolist() for n in range(0, len(part), batch_size)]
    return [batches[index] for index in source.permutation(len(batches))]

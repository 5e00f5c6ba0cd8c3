"""The objective of learning from a teacher: its vectors of words and sentences, and its cosines.

With h a vector of the student, t that of the teacher, A the isometry between them, s the score that
the student gives a pair that it reads together, and a, b the teacher's vectors of the pair's texts:

    loss = word_weight · mean over words (1 - cos(t, A h))
         + sentence_weight · mean over sentences (1 - cos(t, A h))
         + score_weight · mean over pairs (s - cos(a, b))²

A word's vector is the mean over its pieces in the last layer, a sentence's that over its tokens.
Where the student is not the wider one, A keeps angles: so the student's own cosines become the
teacher's, and A is not needed afterwards.
The teacher reads every text alone: a pair's words are drawn to what they are without the other.
Sanh et al. 2019 (DistilBERT, section 3) draw hidden vectors together by their cosine; Jiao et al.
2020 (TinyBERT, section 3.1) map between widths. Thakur et al. 2021 (Augmented SBERT) teach an
encoder of single texts by one of pairs; here it is the other way round.
Dimensions: B rows, N texts, W words, P pairs, H the student's hidden size, D the teacher's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minbert.pretrain.alignment import (
    Reading,
    RowReader,
    like_lengths,
    row_means,
    word_means,
)
from minbert.pretrain.model import PretrainingBert
from minbert.pretrain.pairs import Reads
from minbert.pretrain.scored_pairs import ScoredPairs
from minbert.pretrain.teacher import Teacher, TextVectors
from minbert.support.console import ProgressBar
from minbert.support.device import to_device
from minbert.support.errors import InputError
from minbert.support.randomness import derive_seed
from minbert.training.plan import Differentiable, Differentiate, Evaluation

TAUGHT = "teacher"  # the task, as the log has it


@dataclass(frozen=True)
class TaughtBatch:
    """Some rows as student and teacher read them."""

    ids: tuple[str, ...]
    reads: Reads
    piece: int  # readings that go through the student at once
    name: str = TAUGHT

    def part(self, which: slice, seed: int) -> tuple[TaughtBatch, float, int]:
        """Some of the readings, whose losses are over what all have, so they count in full."""
        part = replace(self, ids=self.ids[which], reads=self.reads.part(which))
        own_seed = derive_seed(seed, "part", *which.indices(len(self.reads.readings)))
        return part, 1.0, own_seed

    @property
    def real_tokens(self) -> int:
        """The student's tokens without padding."""
        return sum(len(reading.row.ids) for reading in self.reads.readings)

    @property
    def padded_tokens(self) -> int:
        """The student's tokens with padding."""
        rows = [reading.row for reading in self.reads.readings]
        pieces = like_lengths(rows, self.piece)
        return sum(len(piece) * len(rows[piece[-1]].ids) for piece in pieces)


class Weights(NamedTuple):
    """The weights of the parts of the loss."""

    word: float
    sentence: float
    score: float


class Match(NamedTuple):
    """Vectors of the student, with the teacher's, of a piece of a batch."""

    words: tuple[Tensor, Tensor]  # (W, H) and (W, D)
    sentences: tuple[Tensor, Tensor]  # (N, H) and (N, D), of the texts that are read alone
    pairs: Tensor  # (P, H), the pooler's, of pairs that are read together
    cosines: Tensor  # (P,), the teacher's


class TeachingObjective(Differentiable[PretrainingBert, TaughtBatch]):
    """The distance of a student from its teacher. A batch runs in pieces of readings."""

    def __init__(self, teacher: Teacher, reader: RowReader, weights: Weights, piece: int) -> None:
        """`reader` is the student's."""
        self.reader, self._teacher, self._weights, self._piece = reader, teacher, weights, piece

    def passes(
        self,
        model: PretrainingBert,
        batch: TaughtBatch,
        seed: int,
        step: int | None,  # noqa: ARG002  nothing depends on it
        differentiate: Differentiate,
    ) -> dict[str, Tensor]:
        """Hand over the losses of the pieces; return `loss` and its parts."""
        totals: dict[str, Tensor] = {}
        count = math.ceil(len(batch.reads.readings) / self._piece)
        for number, losses in enumerate(self.losses(model, batch.reads, seed), start=1):
            differentiate(losses["loss"], number == count)
            for name, value in losses.items():
                totals[name] = totals.get(name, 0) + value.detach()
        return totals

    def losses(
        self, model: PretrainingBert, reads: Reads, seed: int | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """The parts of each piece in the losses, which they add up to.

        These are `word_loss`, `sentence_loss`, with pairs `score_loss`, and `loss`. `seed` switches
        dropout on and decides its masks.
        """
        theirs = self._teacher.read(reads.texts, self._piece)
        readings = reads.readings
        words, alone, pairs = reads.counts
        counts = [max(words, 1), max(alone, 1), pairs]
        for number, rows in enumerate(like_lengths([r.row for r in readings], self._piece)):
            mask_seed = None if seed is None else derive_seed(seed, "dropout", number)
            sums = self._sums(model, [readings[row] for row in rows], theirs, mask_seed)
            names = ("word_loss", "sentence_loss", "score_loss")[: 3 if counts[2] else 2]
            parts = {
                name: part / count for name, part, count in zip(names, sums, counts, strict=False)
            }
            weighted = [w * part for w, part in zip(self._weights, parts.values(), strict=False)]
            yield {**parts, "loss": torch.stack(weighted).sum()}

    @torch.no_grad()
    def fit(self, model: PretrainingBert, reads: Reads) -> None:
        """Begin the map with the isometry that suits these words and sentences best.

        Raises InputError where vectors of theirs are not finite, or have no direction at all.
        """
        assert model.to_teacher is not None
        theirs = self._teacher.read(reads.texts, self._piece)
        products = torch.zeros_like(model.to_teacher.weight)
        for rows in like_lengths([r.row for r in reads.readings], self._piece):
            match = self._match(model, [reads.readings[row] for row in rows], theirs, None)
            for ours, their in (match.words, match.sentences):
                products += (F.normalize(their).T @ F.normalize(ours)).to(products)
        if not products.isfinite().all() or not products.any():  # F.normalize makes inf zero
            whose = "its vectors, or those of the encoder that learns,"
            raise InputError(f"{whose} are zero or not finite; check the weights of both")
        model.to_teacher.fit(products)

    def _sums(
        self,
        model: PretrainingBert,
        piece: Sequence[Reading],
        theirs: TextVectors,
        mask_seed: int | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The losses of a piece, summed over its words, its sentences and its pairs."""
        assert model.to_teacher is not None
        match = self._match(model, piece, theirs, mask_seed)
        ours, their = (torch.cat(both) for both in zip(match.words, match.sentences, strict=True))
        distances = 1 - F.cosine_similarity(model.to_teacher(ours), their, dim=-1)
        by_word, by_text = distances.tensor_split([len(match.words[0])])
        by_pair = (model.scores(match.pairs) - match.cosines).square()
        return by_word.sum(), by_text.sum(), by_pair.sum()

    def _match(
        self,
        model: PretrainingBert,
        piece: Sequence[Reading],
        theirs: TextVectors,
        mask_seed: int | None,
    ) -> Match:
        """What the student makes of a piece, beside what the teacher makes of it."""
        tokens = self.reader.collate([reading.row for reading in piece], model.device)
        hidden, pooled = model.vectors(tokens, mask_seed)
        known = [
            [
                (span, theirs.places[place])
                for place, span in reading.words
                if place in theirs.places
            ]
            for reading in piece
        ]
        words = word_means(hidden, [[span for span, _ in row] for row in known])
        numbers = [number for row in known for _, number in row]
        alone = [row for row, reading in enumerate(piece) if len(reading.texts) == 1]
        pairs = [row for row, reading in enumerate(piece) if len(reading.texts) == 2]
        texts = [piece[row].texts[0] for row in alone]
        a, b = (_of(theirs.texts, [piece[row].texts[side] for row in pairs]) for side in (0, 1))
        return Match(
            words=(words, _of(theirs.words, numbers)),
            sentences=(_of(row_means(hidden, tokens), alone), _of(theirs.texts, texts)),
            pairs=_of(pooled, pairs),
            cosines=F.cosine_similarity(a, b, dim=-1),
        )


def _of(vectors: Tensor, numbers: Sequence[int]) -> Tensor:
    """The vectors of these numbers, (N, D)."""
    return vectors[to_device(np.array(numbers, dtype=np.int64), vectors.device)]


@torch.no_grad()
def score_taught(
    model: PretrainingBert,
    objective: TeachingObjective,
    reads: Reads,
    pairs: ScoredPairs | None,
    piece: int,
) -> Evaluation:
    """Held-out losses and, with `pairs`, their correlations; the criterion is minus the loss."""
    sums: dict[str, float] = {}
    count = len(reads.readings)
    with ProgressBar(count, "held-out sentences", "rows") as bar:
        for losses in objective.losses(model, reads):
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.item()
            bar.update(min(piece, count - bar.done))
    scores = {name.replace("_", " "): value for name, value in sums.items() if name != "loss"}
    if pairs is not None:
        scores["pairs' r"] = pairs.apart(model, objective.reader, piece)
        if "score_loss" in sums:
            scores["together"] = pairs.read_together(model, objective.reader, piece)
    return Evaluation(scores, -sums["loss"], {})

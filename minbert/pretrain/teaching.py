"""The objective of learning from a teacher: its vectors, word by word and of the whole row.

With h a vector of the student, t that of the teacher, A the map between them:

    loss = word_weight · mean over words (1 - cos(t, A h)) + sentence_weight · mean over rows (same)

A word's vector is the mean over its pieces in the last layer, a row's the mean over its tokens.
Sanh et al. 2019 (DistilBERT, section 3) draw hidden vectors together by their cosine; Jiao et al.
2020 (TinyBERT, section 3.1) map between widths. Dimensions: B rows, W words that both sides read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from minbert.data.batches import Padded
from minbert.data.examples import read_split
from minbert.pretrain.alignment import (
    AlignedRow,
    Place,
    ReadRow,
    RowReader,
    row_means,
    word_means,
)
from minbert.pretrain.model import PretrainingBert
from minbert.pretrain.teacher import Teacher
from minbert.support.console import ProgressBar
from minbert.support.randomness import derive_seed
from minbert.tasks.course import STS
from minbert.tasks.metrics import pearson
from minbert.training.plan import Evaluation

TAUGHT = "teacher"  # the task, as the log has it


@dataclass(frozen=True)
class TaughtBatch:
    """B rows as student and teacher read them."""

    ids: tuple[str, ...]
    rows: Sequence[AlignedRow]
    name: str = TAUGHT

    @property
    def real_tokens(self) -> int:
        """The student's tokens without padding."""
        return sum(len(row.student.ids) for row in self.rows)

    @property
    def padded_tokens(self) -> int:
        """The student's tokens with padding."""
        return len(self.rows) * max(len(row.student.ids) for row in self.rows)


class TeachingObjective:
    """The distance of a student's vectors from its teacher's. A batch runs in pieces of rows."""

    def __init__(
        self, teacher: Teacher, reader: RowReader, weights: tuple[float, float], piece: int
    ) -> None:
        """`reader` is the student's; `weights` are those of the words and of the rows."""
        self.reader, self._teacher, self._weights, self._piece = reader, teacher, weights, piece

    def backward(
        self,
        model: PretrainingBert,
        batch: TaughtBatch,
        seed: int,
        step: int | None = None,  # noqa: ARG002  nothing depends on it
    ) -> dict[str, Tensor]:
        """Add this batch's gradients; return `loss`, `word_loss` and `sentence_loss`."""
        totals: dict[str, Tensor] = {}
        for losses in self.losses(model, batch.rows, seed):
            losses["loss"].backward()
            for name, value in losses.items():
                totals[name] = totals.get(name, 0) + value.detach()
        return totals

    def losses(
        self, model: PretrainingBert, rows: Sequence[AlignedRow], seed: int | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """The parts of each piece in the rows' losses, which they add up to.

        `seed` switches dropout on and decides its masks.
        """
        words = max(sum(len(row.words) for row in rows), 1)
        for first in range(0, len(rows), self._piece):
            mask_seed = None if seed is None else derive_seed(seed, "dropout", first)
            by_word, by_row = self._distances(model, rows[first : first + self._piece], mask_seed)
            parts = by_word.sum() / words, by_row.sum() / len(rows)
            loss = self._weights[0] * parts[0] + self._weights[1] * parts[1]
            yield {"word_loss": parts[0], "sentence_loss": parts[1], "loss": loss}

    def _distances(
        self, model: PretrainingBert, rows: Sequence[AlignedRow], mask_seed: int | None
    ) -> tuple[Tensor, Tensor]:
        """1 - cosine between teacher and mapped student: of words (W,) and of rows (B,)."""
        words = [row.words for row in rows]
        tokens = self.reader.collate([row.student for row in rows], model.device)
        ours = _means(
            [row.student for row in rows], words, tokens, model.vectors(tokens, mask_seed)
        )
        tokens = self._teacher.reader.collate([row.teacher for row in rows], model.device)
        theirs = _means([row.teacher for row in rows], words, tokens, self._teacher.vectors(tokens))
        assert model.to_teacher is not None
        by_word, by_row = (
            1 - F.cosine_similarity(model.to_teacher(student), teacher, dim=-1)
            for student, teacher in zip(ours, theirs, strict=True)
        )
        return by_word, by_row


def _means(
    rows: Sequence[ReadRow], words: Sequence[Sequence[Place]], tokens: Padded, hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """The mean vectors of the words at these places, (W, H), and of the rows, (B, H)."""
    spans = [[row.words[place] for place in own] for row, own in zip(rows, words, strict=True)]
    return word_means(hidden, spans), row_means(hidden, tokens)


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs of texts, all a's and then all b's, and the similarity that people gave each pair."""

    texts: Sequence[ReadRow]
    labels: NDArray[np.float64]

    @torch.no_grad()
    def correlation(self, model: PretrainingBert, reader: RowReader, piece: int) -> float:
        """Pearson's r between labels and the cosines of the texts' mean vectors."""
        means = []
        for first in range(0, len(self.texts), piece):
            tokens = reader.collate(self.texts[first : first + piece], model.device)
            means.append(row_means(model.vectors(tokens), tokens))
        a, b = torch.cat(means).chunk(2)
        return pearson(F.cosine_similarity(a, b, dim=-1).cpu().numpy(), self.labels)


def read_pairs(path: Path, reader: RowReader) -> ScoredPairs:
    """The pairs of a file in the format of the course's STS files. Raises InputError."""
    examples = [e for e in read_split(STS, "dev", path).examples if e.label is not None]
    texts = reader.read([(e.texts[side],) for side in (0, 1) for e in examples])
    return ScoredPairs(texts, np.array([e.label for e in examples]))


@torch.no_grad()
def score_taught(
    model: PretrainingBert,
    objective: TeachingObjective,
    rows: Sequence[AlignedRow],
    pairs: ScoredPairs | None,
    piece: int,
) -> Evaluation:
    """Held-out losses and, with `pairs`, their correlation; the criterion is minus the loss."""
    sums = dict.fromkeys(("word_loss", "sentence_loss", "loss"), 0.0)
    with ProgressBar(len(rows), "held-out sentences", "rows") as bar:
        for losses in objective.losses(model, rows):
            for name, value in losses.items():
                sums[name] += value.item()
            bar.update(min(piece, len(rows) - bar.done))
    scores = {"word loss": sums["word_loss"], "sentence loss": sums["sentence_loss"]}
    if pairs is not None:
        scores["pairs' r"] = pairs.correlation(model, objective.reader, piece)
    return Evaluation(scores, -sums["loss"], {})

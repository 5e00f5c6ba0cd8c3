"""Pairs of texts that people scored: how well an encoder tells their similarity.

Dimensions: P pairs.
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
from minbert.data.reading import read_split
from minbert.pretrain.alignment import ReadRow, RowReader, row_means
from minbert.pretrain.model import PretrainingBert
from minbert.support.errors import InputError
from minbert.tasks.course import STS
from minbert.tasks.metrics import pearson


@dataclass(frozen=True)
class ScoredPairs:
    """P pairs as the student reads them, apart and together, and people's similarities (P,)."""

    first: Sequence[ReadRow]
    second: Sequence[ReadRow]
    together: Sequence[ReadRow]
    labels: NDArray[np.float64]

    @torch.no_grad()
    def apart(self, model: PretrainingBert, reader: RowReader, piece: int) -> float:
        """Pearson's r between labels and the cosines of the texts' mean vectors."""
        means = []
        for rows in (self.first, self.second):
            batches = _batches(rows, reader, piece, model)
            means += [torch.cat([row_means(model.vectors(t)[0], t) for t in batches])]
        return self._r(F.cosine_similarity(means[0], means[1], dim=-1))

    @torch.no_grad()
    def read_together(self, model: PretrainingBert, reader: RowReader, piece: int) -> float:
        """Pearson's r between labels and the scores that pairs get when read together."""
        batches = _batches(self.together, reader, piece, model)
        return self._r(torch.cat([model.scores(model.vectors(tokens)[1]) for tokens in batches]))

    def _r(self, similarities: Tensor) -> float:
        return pearson(similarities.cpu().numpy(), self.labels)


def _batches(
    rows: Sequence[ReadRow], reader: RowReader, piece: int, model: PretrainingBert
) -> Iterator[Padded]:
    for first in range(0, len(rows), piece):
        yield reader.collate(rows[first : first + piece], model.device)


def read_pairs(path: Path, reader: RowReader) -> ScoredPairs:
    """The pairs of a file in the format of the course's STS files. Raises InputError."""
    examples = [e for e in read_split(STS, "dev", path).examples if e.label is not None]
    if len({example.label for example in examples}) < 2:
        what = "all its similarities are equal, so nothing can correlate with them"
        raise InputError(f"--scored_pairs {path}: {what}; give two pairs or more that differ")
    first, second = (reader.read([(e.texts[side],) for e in examples]) for side in (0, 1))
    together = reader.read([e.texts for e in examples])
    return ScoredPairs(first, second, together, np.array([e.label for e in examples]))

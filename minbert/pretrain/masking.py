"""The tokens that a masked language model has to guess, and what stands in their place.

Devlin et al. 2019, section 3.1: 15% of a text's tokens are chosen; 80% of them become
[MASK], 10% a random token, 10% stay. Dimensions: B rows, T tokens, M tokens chosen in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_MASKED, _RANDOM = 0.8, 0.1
_NO_TEXT = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")  # never masked; [UNK] is some word


@dataclass(frozen=True)
class Masked:
    """Rows with tokens replaced, and the tokens that stood there."""

    input_ids: Tensor  # (B, T)
    positions: Tensor  # (M,) of the tokens replaced, in the flattened rows
    targets: Tensor  # (M,) the tokens that stood there

    def part(self, rows: slice) -> Masked:
        """Some of the rows, in their order."""
        count, length = self.input_ids.shape
        numbers = torch.full((count,), -1)  # of each row in the part
        numbers[rows] = torch.arange(len(numbers[rows]))
        number = numbers[self.positions // length]  # (M,)
        kept, within = number >= 0, self.positions % length
        positions = (number * length + within)[kept]
        return Masked(self.input_ids[rows], positions, self.targets[kept])


class Masker:
    """A drawer of masks over rows of token ids."""

    def __init__(self, vocab: Mapping[str, int], rate: float, *, whole_words: bool) -> None:
        """`whole_words` chooses all pieces of a word or none (the "whole word masking" models)."""
        self._rate, self._whole_words = rate, whole_words
        self._mask_id, self._size = vocab["[MASK]"], max(vocab.values()) + 1
        self._is_special = torch.zeros(self._size, dtype=torch.bool)
        self._is_special[[vocab[name] for name in _NO_TEXT]] = True
        self._continues = torch.zeros(self._size, dtype=torch.bool)
        self._continues[[index for token, index in vocab.items() if token.startswith("##")]] = True

    def __call__(self, input_ids: Tensor, generator: torch.Generator) -> Masked:
        """Choose ⌊rate · n + ½⌋ of each row's n real tokens, at least one, and replace them.

        `input_ids` are (B, T) on the CPU. With whole words, a word that would exceed the number is
        skipped, as published, so a row may end a piece or two short of it.
        """
        candidates = ~self._is_special[input_ids]  # (B, T)
        numbers = (candidates.sum(dim=1) * self._rate + 0.5).floor().long().clamp(min=1)
        keys = torch.rand(input_ids.shape, generator=generator)
        if self._whole_words:
            chosen = self._words(input_ids, candidates, numbers, keys)
        else:
            ranks = keys.masked_fill(~candidates, 2.0).argsort(dim=1).argsort(dim=1)
            chosen = (ranks < numbers[:, None]) & candidates
        positions = chosen.flatten().nonzero().squeeze(1)
        targets = input_ids.flatten()[positions]
        return Masked(self._replaced(input_ids, positions, targets, generator), positions, targets)

    def _words(
        self, input_ids: Tensor, candidates: Tensor, numbers: Tensor, keys: Tensor
    ) -> Tensor:
        """Walk through the words of all rows at once, in the order of their keys."""
        begins = candidates & ~self._continues[input_ids]  # (B, T)
        begins |= candidates & ~begins.any(dim=1, keepdim=True)  # a row cut out of one long word
        word = begins.cumsum(dim=1) - 1  # (B, T), of each token; -1 ahead of a row's first word
        belongs, word = candidates & (word >= 0), word.clamp(min=0)
        pieces = torch.zeros_like(word).scatter_add_(1, word, belongs.long())  # (B, words)
        order = keys.masked_fill(~begins, 2.0).argsort(dim=1)  # the words' first pieces come first
        words = word.gather(1, order)  # (B, T): of these, as many as the row has words
        sizes, counts = pieces.gather(1, words), begins.sum(dim=1)
        taken, is_taken = torch.zeros_like(counts), torch.zeros_like(pieces)
        for place in range(int(counts.max())):
            size = sizes[:, place]
            fits = (taken == 0) | (taken + size <= numbers)
            takes = ((place < counts) & (taken < numbers) & fits).long()
            taken += takes * size
            is_taken.scatter_add_(1, words[:, place : place + 1], takes[:, None])
            if bool(((taken == numbers) | (place >= counts)).all()):
                break
        return belongs & is_taken.gather(1, word).bool()

    def _replaced(
        self, input_ids: Tensor, positions: Tensor, targets: Tensor, generator: torch.Generator
    ) -> Tensor:
        roll = torch.rand(targets.shape, generator=generator)
        other = torch.randint(self._size, targets.shape, generator=generator)
        instead = torch.where(roll < _MASKED + _RANDOM, other, targets)
        instead[roll < _MASKED] = self._mask_id
        replaced = input_ids.flatten().clone()
        replaced[positions] = instead
        return replaced.view_as(input_ids)

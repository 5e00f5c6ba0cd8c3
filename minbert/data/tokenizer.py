"""Texts to token ids, by the `tokenizers` library: WordPiece (Wu et al. 2016), BPE, unigrams."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding
from tokenizers.models import BPE, Unigram
from tokenizers.processors import ByteLevel, TemplateProcessing
from tokenizers.processors import Sequence as Steps

from minbert.data import spooled, tokenizer_folder
from minbert.data.subwords import Backend
from minbert.data.tokenizer_files import WHOLE
from minbert.support.console import log
from minbert.support.errors import InputError

_MOST_LETTERS = 4_000_000  # a call: the library takes some 150 bytes for each
Shortened = tuple[tuple[str, ...], bool]  # one text or two, and whether they were cut
N = TypeVar("N", bound=np.generic)
_LETTERS = 200  # a token: a text of more letters for each is cut before it is taken apart
_CHUNK = 4096  # inputs a call: parallel inside, and the library's objects never pile up


@dataclass(frozen=True)
class EncodedTexts:
    """Token ids of N inputs, end to end in one array: `ids[starts[i]:starts[i + 1]]`.

    `type_ids` are those of the tokenizer's frame: BERT's second text has 1, RoBERTa's 0.
    `truncated` counts inputs cut to fit.
    """

    ids: NDArray[np.int32]
    type_ids: NDArray[np.int8]
    starts: NDArray[np.int64]
    truncated: int

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each input, special ones included, (N,)."""
        return np.diff(self.starts)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest input; 0 where there is none."""
        return int(self.lengths.max(initial=0))


class WordPieceTokenizer:
    """A map of texts to ids: `[CLS] a [SEP]`, or a pair in the `frame` of the folder's tokenizer.

    `special` has the ids of [PAD], [UNK], [CLS], [SEP] and [MASK] by these names, also where the
    folder has other names for them.
    """

    def __init__(self, backend: Backend, max_length: int) -> None:
        self._tokenizer, self._decisive = backend.tokenizer, backend.decisive
        self._joins_spaces, self.frame = backend.joins_spaces, backend.frame
        self.special, self.max_length = backend.special, max_length
        every = self._tokenizer.get_vocab(with_added_tokens=True).items()
        self.vocab = dict(sorted((entry for entry in every if entry[0]), key=lambda e: e[1]))
        cls, sep = (self._tokenizer.id_to_token(self.special[name]) for name in ("[CLS]", "[SEP]"))
        between, second = [sep] * self.frame.separators, self.frame.second_type
        around = TemplateProcessing(
            single=[cls, "$A", sep],
            pair=[cls, "$A", *between, f"$B:{second}", f"{sep}:{second}"],
            special_tokens=[(cls, self.special["[CLS]"]), (sep, self.special["[SEP]"])],
        )
        places = ByteLevel(trim_offsets=True)  # a token's place is where its letters are
        self._tokenizer.post_processor = Steps([places, around])
        self._tokenizer.enable_truncation(max_length)  # the longer text of a pair first

    @classmethod
    def from_folder(
        cls, folder: Path, max_length: int, embeddings: int | None = None
    ) -> WordPieceTokenizer:
        """Read the tokenizer that a folder's files describe (`tokenizer_folder.py`).

        Without settings the vocabulary counts as lower-cased, as the course's is. Raises InputError
        for a file that cannot be read, a tokenizer that we do not have, files that contradict each
        other, or a token beyond an encoder's `embeddings`.
        """
        tokenizer = cls(tokenizer_folder.from_folder(folder), max_length)
        if embeddings is not None:
            tokenizer._check_size(folder, embeddings)
        return tokenizer

    @property
    def size(self) -> int:
        """The embeddings that its ids need."""
        return max(self.vocab.values()) + 1

    @property
    def beginning(self) -> str:
        """What its vocabulary writes before a word's first piece; WordPiece marks the others."""
        model = self._tokenizer.model
        return "Ġ" if isinstance(model, BPE) else "▁" if isinstance(model, Unigram) else ""

    @property
    def pad_id(self) -> int:
        """The id of [PAD]."""
        return self.special["[PAD]"]

    def _check_size(self, folder: Path, embeddings: int) -> None:
        sizes = f"has {self.size} tokens, config.json's vocab_size is {embeddings}"
        if self.size > embeddings:
            beyond = next(token for token, number in self.vocab.items() if number >= embeddings)
            raise InputError(f"{folder}: its tokenizer {sizes}: {beyond!r} has no embedding")
        whole = (folder / WHOLE).is_file()  # JSON that was cut short is no JSON
        if self.size < embeddings and not (whole or _is_padded(self.size, embeddings)):
            log.warning("%s: its tokenizer %s: is the file whole?", folder, sizes)

    def fingerprint(self) -> str:
        """Hex SHA-256 of what decides the ids of a text: vocabulary and normalisation."""
        return hashlib.sha256(json.dumps(self._decisive).encode()).hexdigest()

    def encode(self, texts: Iterable[tuple[str, ...]], *, special: bool = True) -> EncodedTexts:
        """Encode single texts (1-tuples) or pairs (2-tuples), on all cores.

        `special` puts [CLS] and [SEP] around them. Raises RunError where the disk has no room for
        what memory need not hold.
        """
        ids, type_ids = spooled.GrowingArray(np.int32), spooled.GrowingArray(np.int8)
        starts = spooled.GrowingArray(np.int64)
        starts.append(0)
        truncated = 0
        for chunk in _chunks(map(self._shortened, texts)):
            rows = self._tokenizer.encode_batch(
                [text[0] if len(text) == 1 else text for text, _ in chunk],
                add_special_tokens=special,
            )
            starts.extend(len(ids) + np.cumsum([len(row) for row in rows]))
            ids.extend(_end_to_end([row.ids for row in rows], np.int32))
            type_ids.extend(_end_to_end([row.type_ids for row in rows], np.int8))
            truncated += sum(
                cut or bool(row.overflowing) for row, (_, cut) in zip(rows, chunk, strict=True)
            )
        return EncodedTexts(ids.whole(), type_ids.whole(), starts.whole(), truncated)

    def _shortened(self, texts: tuple[str, ...]) -> Shortened:
        """The texts without what surely lies beyond the limit, and whether anything does.

        The library would first take a text of 15 MB apart into gigabytes.
        """
        most = self.max_length * _LETTERS
        if max(map(len, texts)) <= most:
            return texts, False
        joined = self._joins_spaces
        plain = [" ".join(t.split()) if joined and len(t) > most else t for t in texts]
        return tuple(text[:most] for text in plain), max(map(len, plain)) > most

    def encodings(self, texts: Sequence[str], longest: int | None = None) -> list[Encoding]:
        """The library's records of single texts, without [CLS] and [SEP].

        They know each token's word and its place in the text, in characters. With `longest` a text
        lacks what surely lies beyond so many tokens.
        """
        most = None if longest is None else longest * _LETTERS
        return self._tokenizer.encode_batch([t[:most] for t in texts], add_special_tokens=False)


def _chunks(texts: Iterable[Shortened]) -> Iterator[list[Shortened]]:
    """Texts in groups that the library takes apart together: so many, or of so many letters."""
    chunk: list[Shortened] = []
    letters = 0
    for text, cut in texts:
        chunk.append((text, cut))
        letters += sum(map(len, text))
        if len(chunk) == _CHUNK or letters >= _MOST_LETTERS:
            yield chunk
            chunk, letters = [], 0
    if chunk:
        yield chunk


def _end_to_end(rows: Sequence[Sequence[int]], dtype: type[N]) -> NDArray[N]:
    """Rows of numbers as one array."""
    return np.fromiter(chain.from_iterable(rows), dtype, sum(map(len, rows)))


def _is_padded(tokens: int, embeddings: int) -> bool:
    """Whether so many embeddings are the tokens rounded up, as matrices are to be fast."""
    return any(-tokens // block * -block == embeddings for block in (2**k for k in range(3, 11)))

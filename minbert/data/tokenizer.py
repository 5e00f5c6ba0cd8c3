"""WordPiece tokenization (Wu et al. 2016; Devlin et al. 2019), by the `tokenizers` library."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Encoding, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from minbert.data import spooled
from minbert.support.console import log
from minbert.support.errors import InputError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
N = TypeVar("N", bound=np.generic)
_CHUNK = 4096  # inputs a call: parallel inside, and the library's objects never pile up


@dataclass(frozen=True)
class EncodedTexts:
    """Token ids of N inputs, end to end in one array: `ids[starts[i]:starts[i + 1]]`.

    `type_ids` are 0 up to the first [SEP], 1 after it. `truncated` counts inputs cut to fit.
    """

    ids: NDArray[np.int32]
    type_ids: NDArray[np.int8]
    starts: NDArray[np.int64]
    truncated: int

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each input, special ones included, (N,)."""
        return np.diff(self.starts)


class WordPieceTokenizer:
    """A map of texts to ids: `[CLS] a [SEP]`, or `[CLS] a [SEP] b [SEP]` with types 0 and 1."""

    def __init__(
        self,
        vocab: dict[str, int],
        *,
        max_length: int,
        lowercase: bool = True,
        strip_accents: bool | None = None,
        split_chinese: bool = True,
    ) -> None:
        """`strip_accents` None follows `lowercase`. Raises InputError without a special token."""
        if missing := [token for token in SPECIAL_TOKENS if token not in vocab]:
            raise InputError(f"vocab.txt: lacks {', '.join(missing)}: not a BERT vocabulary")
        self.vocab = vocab
        self.pad_id, self.max_length = vocab["[PAD]"], max_length
        self._settings = (lowercase, strip_accents, split_chinese)
        self._tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]"))  # noqa: S106
        self._tokenizer.normalizer = BertNormalizer(
            lowercase=lowercase, strip_accents=strip_accents, handle_chinese_chars=split_chinese
        )
        self._tokenizer.pre_tokenizer = BertPreTokenizer()
        self._tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
        )
        self._tokenizer.add_special_tokens(
            [AddedToken(token, special=True) for token in SPECIAL_TOKENS]
        )
        self._tokenizer.enable_truncation(max_length)  # the longer text of a pair first

    @classmethod
    def from_folder(
        cls, folder: Path, max_length: int, embeddings: int | None = None
    ) -> WordPieceTokenizer:
        """Read `vocab.txt`, one token a line, and the settings in `tokenizer_config.json`.

        Without settings the vocabulary counts as lower-cased, as the course's is. Raises InputError
        for a file that cannot be read, a token that stands twice, or more tokens than an encoder
        has `embeddings`.
        """
        vocab = _read_vocab(folder / "vocab.txt")
        if embeddings is not None and len(vocab) > embeddings:
            raise InputError(
                f"{folder}: vocab.txt has {len(vocab)} tokens, config.json's vocab_size is "
                f"{embeddings}"
            )
        if embeddings is not None and len(vocab) < embeddings:
            warning = "%s has %d tokens, config.json's vocab_size is %d: is the file whole?"
            log.warning(warning, folder / "vocab.txt", len(vocab), embeddings)
        return cls(vocab, max_length=max_length, **_settings(folder))

    def fingerprint(self) -> str:
        """Hex SHA-256 of what decides the ids of a text: vocabulary and normalisation."""
        decisive = json.dumps([sorted(self.vocab.items()), self._settings])
        return hashlib.sha256(decisive.encode()).hexdigest()

    def encode(self, texts: Iterable[tuple[str, ...]], *, special: bool = True) -> EncodedTexts:
        """Encode single texts (1-tuples) or pairs (2-tuples), on all cores.

        `special` puts [CLS] and [SEP] around them. Raises RunError where the disk has no room for
        what memory need not hold.
        """
        ids, type_ids = spooled.GrowingArray(np.int32), spooled.GrowingArray(np.int8)
        starts = spooled.GrowingArray(np.int64)
        starts.append(0)
        truncated, left = 0, iter(texts)
        while chunk := [t[0] if len(t) == 1 else t for t in islice(left, _CHUNK)]:
            rows = self._tokenizer.encode_batch(chunk, add_special_tokens=special)
            starts.extend(len(ids) + np.cumsum([len(row) for row in rows]))
            ids.extend(_end_to_end([row.ids for row in rows], np.int32))
            type_ids.extend(_end_to_end([row.type_ids for row in rows], np.int8))
            truncated += sum(bool(row.overflowing) for row in rows)
        return EncodedTexts(ids.whole(), type_ids.whole(), starts.whole(), truncated)

    def encodings(self, texts: Sequence[str]) -> list[Encoding]:
        """The library's records of single texts, without [CLS] and [SEP].

        They know each token's word and its place in the text, in characters.
        """
        return self._tokenizer.encode_batch(list(texts), add_special_tokens=False)


def _end_to_end(rows: Sequence[Sequence[int]], dtype: type[N]) -> NDArray[N]:
    """Rows of numbers as one array."""
    return np.fromiter(chain.from_iterable(rows), dtype, sum(map(len, rows)))


def _read_vocab(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a vocabulary ({error})") from error
    tokens = [line.rstrip("\r") for line in lines[: len(lines) - (lines[-1] == "")]]
    vocab = {token: index for index, token in enumerate(tokens)}
    if len(vocab) < len(tokens):
        twice = next(token for index, token in enumerate(tokens) if vocab[token] != index)
        raise InputError(f"{path}: {twice!r} stands there twice")
    return vocab


def _settings(folder: Path) -> dict[str, bool]:
    """The normalisation settings in `tokenizer_config.json`, under this module's names."""
    path = folder / "tokenizer_config.json"
    if not path.exists():
        return {}
    try:
        published = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(published, dict):
        raise InputError(f"{path}: expected a JSON object")
    names = {
        "do_lower_case": "lowercase",
        "strip_accents": "strip_accents",
        "tokenize_chinese_chars": "split_chinese",
    }
    settings = {ours: published.get(theirs) for theirs, ours in names.items()}
    if wrong := [name for name, value in settings.items() if not isinstance(value, bool | None)]:
        raise InputError(f"{path}: {wrong[0]} is {settings[wrong[0]]!r}, not true or false")
    return {name: value for name, value in settings.items() if value is not None}

"""Vocabularies of word pieces, built with the `tokenizers` library: BERT's, RoBERTa's, XLM-R's.

A `Backend` is such a vocabulary with what the published encoders of its kind set around a text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel

from minbert.support.errors import InputError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BERT_NAMES: Mapping[str, str] = {token: token for token in SPECIAL_TOKENS}
ROBERTA_NAMES: Mapping[str, str] = dict(
    zip(SPECIAL_TOKENS, ("<pad>", "<unk>", "<s>", "</s>", "<mask>"), strict=True)
)
_PLAIN = [AddedToken(token, special=True) for token in SPECIAL_TOKENS]
_SPACES = {"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "▁", "split": True}


@dataclass(frozen=True)
class Frame:
    """What stands around a pair: `separators` [SEP] between the texts, the second one's type."""

    separators: int
    second_type: int


BERT_FRAME = Frame(separators=1, second_type=1)  # [CLS] a [SEP] b [SEP]
ROBERTA_FRAME = Frame(separators=2, second_type=0)  # <s> a </s></s> b </s>


@dataclass(frozen=True)
class Backend:
    """A tokenizer that sets nothing around a text and has no limit, and the frame for it.

    `special` has the ids of the special tokens by BERT's names for them, whatever the folder calls
    them. `decisive` is a JSON value that differs between any two tokenizers. `joins_spaces` says
    that many blanks in a row give the same ids as one.
    """

    tokenizer: Tokenizer
    special: Mapping[str, int]
    decisive: Any
    frame: Frame = BERT_FRAME
    joins_spaces: bool = True


def wordpiece(
    vocab: Mapping[str, int],
    added: Sequence[AddedToken] = _PLAIN,
    names: Mapping[str, str] = BERT_NAMES,
    *,
    lowercase: bool = True,
    strip_accents: bool | None = None,
    split_chinese: bool = True,
    **pieces: Any,
) -> Backend:
    """BERT's tokenizer over a vocabulary. Of the `added` tokens, those that are new get new ids.

    `names` are those of the special tokens by BERT's names. `strip_accents` None follows
    `lowercase`. `pieces` are settings of the library's WordPiece. Raises InputError without a
    special token.
    """
    if names["[UNK]"] not in vocab:
        raise InputError(f"lacks {names['[UNK]']}: not a BERT vocabulary")
    tokenizer = Tokenizer(WordPiece(dict(vocab), unk_token=names["[UNK]"], **pieces))
    tokenizer.normalizer = BertNormalizer(
        lowercase=lowercase, strip_accents=strip_accents, handle_chinese_chars=split_chinese
    )
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.add_tokens(list(added))
    plain = [_state(token) for token in _PLAIN]
    own = [state for state in map(_state, added) if state not in plain]
    settings = [lowercase, strip_accents, split_chinese, *sorted(pieces.items())]
    decisive = [sorted(vocab.items()), settings, *([own] if own else [])]
    return Backend(tokenizer, special_ids(tokenizer, names), decisive)


def byte_level(
    vocab: Mapping[str, int],
    merges: Iterable[tuple[str, str]],
    added: Sequence[AddedToken],
    names: Mapping[str, str] = ROBERTA_NAMES,
    *,
    prefix_space: bool = False,
) -> Backend:
    """RoBERTa's byte-pair encoding of UTF-8 bytes (Radford et al. 2019, section 2.2).

    `merges` are the pairs of pieces to join, the most frequent first. `prefix_space` lets a text's
    first word count as one that follows a blank. Raises InputError without a special token.
    """
    tokenizer = Tokenizer(BPE(dict(vocab), list(merges)))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=prefix_space)
    tokenizer.add_tokens(list(added))
    return whole(tokenizer, names, ROBERTA_FRAME)


def unigram(
    model: Mapping[str, Any],
    charsmap: str | None,
    added: Sequence[AddedToken],
    names: Mapping[str, str] = ROBERTA_NAMES,
    *,
    prefix_space: bool = True,
) -> Backend:
    """XLM-R's unigram language model (Kudo 2018), as a tokenizer.json writes it.

    `charsmap` is SentencePiece's table of normalisations, in base 64. Raises InputError without a
    special token.
    """
    normalizer = {"type": "Precompiled", "precompiled_charsmap": charsmap}
    scheme = {"prepend_scheme": "always" if prefix_space else "never"}
    split, mark = _SPACES
    parts = {
        "model": model,
        "normalizer": normalizer if charsmap else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, {**mark, **scheme}]},
    }
    tokenizer = Tokenizer.from_str(json.dumps({"added_tokens": [], **parts}))
    tokenizer.add_tokens(list(added))
    return whole(tokenizer, names, ROBERTA_FRAME)


def whole(tokenizer: Tokenizer, names: Mapping[str, str], frame: Frame) -> Backend:
    """A tokenizer as it is, which every part of it decides."""
    special, decisive = special_ids(tokenizer, names), [tokenizer.to_str(), vars(frame)]
    return Backend(tokenizer, special, decisive, frame, _joins_spaces(tokenizer))


def _joins_spaces(tokenizer: Tokenizer) -> bool:
    """Whether words are split at blanks, which are then gone, before anything else."""
    splitter = tokenizer.pre_tokenizer
    parts = {} if splitter is None else json.loads(splitter.__getstate__())
    first = (parts.get("pretokenizers") or [parts])[0]
    return first.get("type") in ("BertPreTokenizer", "WhitespaceSplit")


def _state(token: AddedToken) -> list[Any]:
    flags = (token.single_word, token.lstrip, token.rstrip, token.normalized, token.special)
    return [token.content, *flags]


def special_ids(tokenizer: Tokenizer, names: Mapping[str, str]) -> dict[str, int]:
    """The ids of the special tokens by BERT's names. Raises InputError for one that is absent."""
    ids = {token: tokenizer.token_to_id(name) for token, name in names.items()}
    if missing := [names[token] for token, number in ids.items() if number is None]:
        raise InputError(f"lacks {', '.join(missing)}, which every encoder needs")
    return {token: number for token, number in ids.items() if number is not None}

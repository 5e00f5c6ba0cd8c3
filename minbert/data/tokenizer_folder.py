"""The tokenizer that the files of an encoder's folder describe.

`tokenizer_config.json` names a class, and `CLASSES` says how a tokenizer of that class is built.
Where `tokenizer.json` is there, it decides on the vocabulary, else `vocab.txt` does. Every token
gets the id that the reference library gives it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from minbert.data.tokenizer_files import SETTINGS, VOCAB, WHOLE, TokenizerFiles, read_vocab
from minbert.support.console import log
from minbert.support.errors import InputError

_ROLES = {  # BERT's special tokens: the key that declares another in their place
    "[PAD]": "pad_token",
    "[UNK]": "unk_token",
    "[CLS]": "cls_token",
    "[SEP]": "sep_token",
    "[MASK]": "mask_token",
}
SPECIAL_TOKENS = tuple(_ROLES)
_PLAIN = [AddedToken(token, special=True) for token in SPECIAL_TOKENS]
_NORMALISATION = {  # an argument of `wordpiece`: keys of tokenizer_config.json, tokenizer.json
    "lowercase": ("do_lower_case", "lowercase"),
    "strip_accents": ("strip_accents", "strip_accents"),
    "split_chinese": ("tokenize_chinese_chars", "handle_chinese_chars"),
}
_PARTS = {"model": "WordPiece", "normalizer": "BertNormalizer", "pre_tokenizer": "BertPreTokenizer"}


@dataclass(frozen=True)
class Backend:
    """A tokenizer without [CLS] and [SEP] around a text, and without a limit.

    `special` has the ids of the special tokens by BERT's names for them, whatever the folder calls
    them. `decisive` is a JSON value that differs between any two tokenizers.
    """

    tokenizer: Tokenizer
    special: Mapping[str, int]
    decisive: Any


def wordpiece(
    vocab: Mapping[str, int],
    added: Sequence[AddedToken] = _PLAIN,
    names: Mapping[str, str] | None = None,
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
    names = names or {token: token for token in SPECIAL_TOKENS}
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
    return Backend(tokenizer, _special(tokenizer, names), decisive)


def _state(token: AddedToken) -> list[Any]:
    flags = (token.single_word, token.lstrip, token.rstrip, token.normalized, token.special)
    return [token.content, *flags]


def _special(tokenizer: Tokenizer, names: Mapping[str, str]) -> dict[str, int]:
    ids = {token: tokenizer.token_to_id(name) for token, name in names.items()}
    if missing := [names[token] for token, number in ids.items() if number is None]:
        raise InputError(f"lacks {', '.join(missing)}: not a BERT vocabulary")
    return {token: number for token, number in ids.items() if number is not None}


def from_folder(folder: Path) -> Backend:
    """The tokenizer of a folder. Raises InputError where its files name none that we have."""
    files = TokenizerFiles(folder)
    named = files.tokenizer_class
    build = CLASSES.get(named.removesuffix("Fast"))
    if build is None:
        known = ", ".join(CLASSES)
        raise InputError(f"{folder}: tokenizer_class {named!r} is not implemented, only {known}")
    try:
        backend = build(files)
    except InputError as error:
        if str(error).startswith(str(folder)):
            raise
        raise InputError(f"{files.source}: {error}") from error
    except Exception as error:  # the library raises this plain type, and TypeError
        raise InputError(f"{files.source}: makes no tokenizer ({error})") from error
    backend.tokenizer.encode_special_tokens = files.settings.get("split_special_tokens") is True
    _check_ids(files, backend.tokenizer)
    return backend


def _bert(files: TokenizerFiles) -> Backend:
    """The library's class for BERT: BERT's parts over the folder's vocabulary and settings."""
    _check_parts(files, absent=True)
    names = _names(files)
    there = {*files.vocab, *(token.content for token in (*files.added.values(), *files.declared()))}
    if missing := [name for name in names.values() if name not in there]:
        raise InputError(f"lacks {', '.join(missing)}: not a BERT vocabulary")
    special = [AddedToken(name, special=True) for name in names.values()]
    added = _distinct([*files.added.values(), *files.declared(), *special])
    return wordpiece(files.vocab, added, names, **_normalisation(files), **_pieces(files))


def _names(files: TokenizerFiles) -> dict[str, str]:
    """The folder's names for the special tokens, by BERT's."""
    return {token: files.role(key) or token for token, key in _ROLES.items()}


def _distinct(tokens: Sequence[AddedToken]) -> list[AddedToken]:
    """The first token of each text, in order."""
    found: dict[str, AddedToken] = {}
    for token in tokens:
        found.setdefault(token.content, token)
    return list(found.values())


def _normalisation(files: TokenizerFiles) -> dict[str, Any]:
    """Settings that a file has. tokenizer_config.json's win, as in the library."""
    chosen = {}
    for name, (key, key_of_whole) in _NORMALISATION.items():
        written, value = files.part("normalizer").get(key_of_whole), files.settings.get(key)
        for what in (written, value):
            if not isinstance(what, bool | None):
                raise files.error(SETTINGS, f"{key} is {str(what)[:40]!r}, not true or false")
        if None not in (value, written) and value != written:
            warning = "%s: %s is %s in %s and %s in %s: the first counts"
            log.warning(warning, files.folder, key, value, SETTINGS, written, WHOLE)
        if (decided := written if value is None else value) is not None:
            chosen[name] = decided
    return chosen


def _pieces(files: TokenizerFiles) -> dict[str, Any]:
    """Settings of tokenizer.json's model that are not BERT's."""
    usual = {"max_input_chars_per_word": 100, "continuing_subword_prefix": "##"}
    model = files.part("model")
    return {key: model[key] for key, value in usual.items() if model.get(key, value) != value}


def _check_parts(files: TokenizerFiles, *, absent: bool) -> None:
    """Raise InputError for a tokenizer.json of other parts than BERT's; some may be `absent`."""
    for part, ours in _PARTS.items() if files.whole else ():
        named = files.part(part).get("type")
        if named != ours and not (absent and named is None):
            raise files.error(WHOLE, f"{part} {named!r} is not implemented, only {ours!r}")


def _as_written(files: TokenizerFiles) -> Backend:
    """The library's class for any tokenizer.json: what this file says and nothing else."""
    if not files.whole:
        return _bert(files)
    _check_parts(files, absent=False)
    names = _names(files)
    if not _is_framed(files.part("post_processor"), names["[CLS]"], names["[SEP]"]):
        raise files.error(WHOLE, "its post_processor does not make [CLS] a [SEP] b [SEP]")
    tokenizer = Tokenizer.from_str(json.dumps({**files.whole, "post_processor": None}))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.add_tokens(_distinct([*files.added.values(), *files.declared()]))
    return Backend(tokenizer, _special(tokenizer, names), json.loads(tokenizer.to_str()))


def _is_framed(processor: Mapping[str, Any], cls: str, sep: str) -> bool:
    """Whether a post_processor, if any, makes BERT's frame of two texts, with types 0 and 1.

    The library is not asked: it panics at a template with an unknown token.
    """
    kind = processor.get("type")
    if kind == "BertProcessing":
        return [processor[key][0] for key in ("cls", "sep")] == [cls, sep]
    pieces = [(cls, 0), ("A", 0), (sep, 0), ("B", 1), (sep, 1)]
    template = [[{"id": name, "type_id": number}] for name, number in pieces]
    pair = [[*piece.values()] for piece in processor.get("pair", ())]
    return kind is None or (kind == "TemplateProcessing" and pair == template)


# RoBERTa's and XLM-R's tokenizers would be entries here. A class and its ...Fast are one.
CLASSES: Mapping[str, Callable[[TokenizerFiles], Backend]] = {
    "BertTokenizer": _bert,
    "DistilBertTokenizer": _bert,
    "ElectraTokenizer": _bert,
    "MobileBertTokenizer": _bert,
    "PreTrainedTokenizer": _as_written,
    "TokenizersBackend": _as_written,
}


def _check_ids(files: TokenizerFiles, tokenizer: Tokenizer) -> None:
    """Raise InputError where a file gives a token another id than it has."""
    for number, token in files.added.items():
        if (found := tokenizer.token_to_id(token.content)) != number:
            what = f"the added token {token.content!r} has id {number} there, but would get {found}"
            raise files.error(files.source.name, what)
    vocab = tokenizer.get_vocab(with_added_tokens=True)
    if len(set(vocab.values())) != len(vocab):
        raise files.error(files.source.name, "two of its tokens have one id")
    if files.whole and (files.folder / VOCAB).is_file():
        _check_agreement(files, vocab)


def _check_agreement(files: TokenizerFiles, vocab: Mapping[str, int]) -> None:
    """Raise InputError for the first id whose token differs in vocab.txt and tokenizer.json."""
    listed = dict(enumerate(read_vocab(files.folder / VOCAB)))
    tokens = {number: token for token, number in vocab.items()}
    for number in sorted({*files.vocab.values(), *(i for i, token in listed.items() if token)}):
        mine, theirs = listed.get(number), tokens.get(number)
        if mine != theirs:
            raise InputError(
                f"{files.folder}: id {number} is {mine!r} in {VOCAB} and {theirs!r} in {WHOLE}, "
                "so they are of two tokenizers: remove the one that is not the encoder's"
            )

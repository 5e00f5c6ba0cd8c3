"""The tokenizer that the files of an encoder's folder describe.

`tokenizer_config.json` names a class, and `CLASSES` says how a tokenizer of that class is built.
Where `tokenizer.json` is there, it decides on the vocabulary, else `vocab.txt` does, or RoBERTa's
`vocab.json` and `merges.txt`. Every token gets the id that the reference library gives it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from minbert.data import subwords
from minbert.data.subwords import (
    BERT_FRAME,
    BERT_NAMES,
    ROBERTA_FRAME,
    ROBERTA_NAMES,
    Backend,
    Frame,
)
from minbert.data.tokenizer_files import SETTINGS, WHOLE, TokenizerFiles
from minbert.support.console import log
from minbert.support.errors import InputError

_ROLES = {  # BERT's special tokens: the key that declares another in their place
    "[PAD]": "pad_token",
    "[UNK]": "unk_token",
    "[CLS]": "cls_token",
    "[SEP]": "sep_token",
    "[MASK]": "mask_token",
}
_NORMALISATION = {  # an argument of `wordpiece`: keys of tokenizer_config.json, tokenizer.json
    "lowercase": ("do_lower_case", "lowercase"),
    "strip_accents": ("strip_accents", "strip_accents"),
    "split_chinese": ("tokenize_chinese_chars", "handle_chinese_chars"),
}
_BERT = {"model": "WordPiece", "normalizer": "BertNormalizer", "pre_tokenizer": "BertPreTokenizer"}
_ROBERTA = {"model": "BPE", "normalizer": None, "pre_tokenizer": "ByteLevel"}
_MODELS = ("WordPiece", "BPE", "Unigram")


def from_folder(folder: Path) -> Backend:
    """The tokenizer of a folder. Raises InputError where its files name none that we have."""
    files = TokenizerFiles(folder)
    named = files.tokenizer_class
    build = CLASSES.get(named.removesuffix("Fast"))
    if build is None:
        known = ", ".join(CLASSES)
        raise InputError(f"{folder}: tokenizer_class {named!r} is not implemented, only {known}")
    try:
        _check_charsmaps(files)
        backend = build(files)
    except InputError as error:
        if str(error).startswith(str(folder)):
            raise
        raise InputError(f"{files.source}: {error}") from error
    except BaseException as error:  # the library raises Exception itself, or panics
        if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":
            raise
        raise InputError(f"{files.source}: makes no tokenizer ({error})") from error
    backend.tokenizer.encode_special_tokens = files.settings.get("split_special_tokens") is True
    _check_ids(files, backend.tokenizer)
    return backend


def _bert(files: TokenizerFiles) -> Backend:
    """The library's class for BERT: BERT's parts over the folder's vocabulary and settings."""
    _check_parts(files, _BERT)
    names = _names(files, BERT_NAMES)
    return subwords.wordpiece(
        files.vocab, _added(files, names), names, **_normalisation(files), **_pieces(files)
    )


def _roberta(files: TokenizerFiles) -> Backend:
    """The library's class for RoBERTa: bytes of UTF-8, joined in the order of the merges."""
    _check_parts(files, _ROBERTA)
    names = _names(files, ROBERTA_NAMES)
    space = files.flag("add_prefix_space", default=False)
    added = _added(files, names)
    return subwords.byte_level(files.vocab, files.merges, added, names, prefix_space=space)


def _xlm_roberta(files: TokenizerFiles) -> Backend:
    """The library's class for XLM-R: SentencePiece's pieces, as its tokenizer.json has them."""
    if not files.whole:
        raise InputError(f"{files.folder}: lacks {WHOLE}, which holds the pieces of XLM-R")
    if (kind := files.part("model").get("type")) not in ("Unigram", None):
        raise files.error(WHOLE, f"model {kind!r} is not implemented, only 'Unigram'")
    names, space = _names(files, ROBERTA_NAMES), files.flag("add_prefix_space", default=True)
    charsmap, added = _charsmap(files), _added(files, names)
    return subwords.unigram(files.part("model"), charsmap, added, names, prefix_space=space)


def _charsmap(files: TokenizerFiles) -> str | None:
    """SentencePiece's table in the file's normalizer, beside which only blanks may be joined."""
    found = {step.get("type"): step for step in files.normalizers}
    if others := set(found) - {"Precompiled", "Replace", "Strip"}:
        what = f"normalizer {sorted(map(str, others))[0]!r} is not implemented"
        raise files.error(WHOLE, f"{what} for this class, only 'Precompiled'")
    return found.get("Precompiled", {}).get("precompiled_charsmap")


def _check_charsmaps(files: TokenizerFiles) -> None:
    """Raise InputError for a damaged table of normalisations, at which the library panics.

    It is a number of bytes, so many bytes of a search tree in words of four, and UTF-8.
    """
    for step in files.normalizers:
        try:
            table = base64.b64decode(step.get("precompiled_charsmap") or "AAAAAA==", validate=True)
            size = int.from_bytes(table[:4], "little")
            if size % 4 or len(table) < 4 + size:
                raise ValueError("it is cut short")
            table[4 + size :].decode()
        except (TypeError, ValueError) as error:
            raise files.error(WHOLE, f"its precompiled_charsmap is damaged ({error})") from error


def _names(files: TokenizerFiles, usual: Mapping[str, str]) -> dict[str, str]:
    """The folder's names for the special tokens, by BERT's; `usual` where it declares none."""
    return {token: files.role(key) or usual[token] for token, key in _ROLES.items()}


def _added(files: TokenizerFiles, names: Mapping[str, str]) -> list[AddedToken]:
    """Tokens to add, the special ones among them. Raises InputError for one that has no id."""
    there = {*files.vocab, *(token.content for token in (*files.added.values(), *files.declared()))}
    if missing := [name for name in names.values() if name not in there]:
        raise InputError(f"lacks {', '.join(missing)}, which every encoder needs")
    special = [AddedToken(name, special=True) for name in names.values()]
    return _distinct([*files.added.values(), *files.declared(), *special])


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


def _check_parts(files: TokenizerFiles, ours: Mapping[str, str | None]) -> None:
    """Raise InputError for a tokenizer.json that has a part of another kind than `ours`."""
    for part, kind in ours.items() if files.whole else ():
        named = files.part(part).get("type")
        if named not in (kind, None):
            raise files.error(WHOLE, f"{part} {named!r} is not implemented, only {kind!r}")


def _as_written(files: TokenizerFiles) -> Backend:
    """The library's class for any tokenizer.json: what this file says and nothing else."""
    if not files.whole:
        return _bert(files) if files.listing.suffix == ".txt" else _roberta(files)
    kind = files.part("model").get("type")
    if kind not in _MODELS:
        raise files.error(WHOLE, f"model {kind!r} is not implemented, only {', '.join(_MODELS)}")
    names = _names(files, BERT_NAMES if "[CLS]" in files.vocab else ROBERTA_NAMES)
    frame = _frame(files.part("post_processor"), names["[CLS]"], names["[SEP]"])
    if frame is None:
        what = "its post_processor makes neither BERT's [CLS] a [SEP] b [SEP] nor RoBERTa's frame"
        raise files.error(WHOLE, what)
    tokenizer = Tokenizer.from_str(json.dumps({**files.whole, "post_processor": None}))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.add_tokens(_distinct([*files.added.values(), *files.declared()]))
    return subwords.whole(tokenizer, names, frame)


def _frame(processor: Mapping[str, Any], cls: str, sep: str) -> Frame | None:
    """The frame that a post_processor sets around two texts; None for one that is not ours.

    The library is not asked: it panics at a template with an unknown token.
    """
    kind = processor.get("type")
    if kind == "Sequence":  # the others change what is said of a token's place alone
        steps = [step for step in processor["processors"] if step.get("type") != "ByteLevel"]
        return _frame(steps[0], cls, sep) if len(steps) == 1 else None
    if kind in ("BertProcessing", "RobertaProcessing"):
        ours = BERT_FRAME if kind == "BertProcessing" else ROBERTA_FRAME
        return ours if [processor[key][0] for key in ("cls", "sep")] == [cls, sep] else None
    if kind is None:
        return BERT_FRAME if cls == BERT_NAMES["[CLS]"] else ROBERTA_FRAME
    pair = [(piece["id"], piece["type_id"]) for p in processor["pair"] for piece in p.values()]
    frames = (Frame(separators, second) for separators in (1, 2) for second in (0, 1))
    return next((frame for frame in frames if pair == _template(frame, cls, sep)), None)


def _template(frame: Frame, cls: str, sep: str) -> list[tuple[str, int]]:
    """The pieces of a pair and their types, as a TemplateProcessing lists them."""
    first = [(cls, 0), ("A", 0), *[(sep, 0)] * frame.separators]
    return [*first, ("B", frame.second_type), (sep, frame.second_type)]


# A class and its ...Fast are one.
CLASSES: Mapping[str, Callable[[TokenizerFiles], Backend]] = {
    "BertTokenizer": _bert,
    "DistilBertTokenizer": _bert,
    "ElectraTokenizer": _bert,
    "MobileBertTokenizer": _bert,
    "RobertaTokenizer": _roberta,
    "XLMRobertaTokenizer": _xlm_roberta,
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
    if files.whole and files.listing.is_file():
        _check_agreement(files, vocab)


def _check_agreement(files: TokenizerFiles, vocab: Mapping[str, int]) -> None:
    """Raise InputError for the first id whose token differs in the list and in tokenizer.json."""
    listed = {number: token for token, number in files.listed.items()}
    tokens = {number: token for token, number in vocab.items()}
    for number in sorted({*files.vocab.values(), *listed}):
        mine, theirs = listed.get(number), tokens.get(number)
        if mine != theirs:
            which = f"{mine!r} in {files.listing.name} and {theirs!r} in {WHOLE}"
            raise InputError(
                f"{files.folder}: id {number} is {which}, so they are of two tokenizers: "
                "remove the one that is not the encoder's"
            )

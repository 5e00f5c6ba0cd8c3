"""What the files in an encoder's folder say of its tokenizer, each read once and checked.

Tokens that were added after pretraining stand in `tokenizer.json` (`added_tokens`), in
`tokenizer_config.json` (`added_tokens_decoder`) or in the older `added_tokens.json`. Special tokens
are declared in `tokenizer_config.json` or the older `special_tokens_map.json`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from minbert.support import untrusted
from minbert.support.console import log
from minbert.support.errors import InputError

WHOLE, SETTINGS = "tokenizer.json", "tokenizer_config.json"
VOCAB, BYTES, MERGES = "vocab.txt", "vocab.json", "merges.txt"  # BERT's list; RoBERTa's two
_MAP, _ADDED = "special_tokens_map.json", "added_tokens.json"
_LARGEST = 128 * untrusted.MEGABYTE  # XLM-R's tokenizer.json has 17 MB
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
# the library gives new ids in this order
_ROLES = tuple(f"{role}_token" for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))


@dataclass(frozen=True)
class TokenizerFiles:
    """The files of a folder. Whatever is asked for may raise InputError, which names the file."""

    folder: Path

    @cached_property
    def settings(self) -> dict[str, Any]:
        """tokenizer_config.json; empty where it is absent."""
        return self._object(SETTINGS)

    @cached_property
    def whole(self) -> dict[str, Any]:
        """tokenizer.json; empty where it is absent."""
        found = self._object(WHOLE)
        if "model" not in found and self._has(WHOLE):
            raise self.error(WHOLE, "has no model, so it is no tokenizer")
        return found

    @property
    def source(self) -> Path:
        """The file that decides on the vocabulary."""
        return self.folder / WHOLE if self.whole else self.listing

    @property
    def listing(self) -> Path:
        """The file that lists the vocabulary where tokenizer.json does not: BERT's or RoBERTa's."""
        return self.folder / (BYTES if self._has(BYTES) and not self._has(VOCAB) else VOCAB)

    @property
    def tokenizer_class(self) -> str:
        """The class that the folder names; where it names none, what kind of files it has."""
        named = self.settings.get("tokenizer_class") or self.settings.get("auto_map")
        named = named or self._object("config.json").get("tokenizer_class")
        if named:
            return str(named)
        if self.whole:
            is_bert = self.part("model").get("type") in (None, "WordPiece")
            return "BertTokenizer" if is_bert else "PreTrainedTokenizerFast"
        return "BertTokenizer" if self.listing.suffix == ".txt" else "RobertaTokenizer"

    @cached_property
    def vocab(self) -> dict[str, int]:
        """The word pieces and their ids, without added tokens."""
        if not self.whole:
            return self.listed
        vocab = self.part("model").get("vocab")
        if isinstance(vocab, list):  # the pieces of a Unigram, with their log probabilities
            return {str(piece[0]): number for number, piece in enumerate(vocab)}
        return self._ids(WHOLE, vocab)

    @cached_property
    def listed(self) -> dict[str, int]:
        """The word pieces of the list beside tokenizer.json, or in its place."""
        if self.listing.suffix == ".json":
            return self._ids(BYTES, self._object(BYTES))
        tokens = read_vocab(self.listing)
        if tokens and not tokens[-1]:
            log.info("%s: blank lines at its end are passed over", self.listing)
        return {token: number for number, token in enumerate(tokens) if token}

    @cached_property
    def merges(self) -> list[tuple[str, str]]:
        """The pairs of pieces that RoBERTa's tokenizer joins, in their order."""
        lines = self.part("model").get("merges") if self.whole else self._merge_lines()
        pairs = [line.split(" ") if isinstance(line, str) else line for line in lines or ()]
        if wrong := next((p for p in pairs if len(p) != 2 or "" in p), None):
            raise self.error(WHOLE if self.whole else MERGES, f"{wrong!r} is no pair of pieces")
        return [(str(first), str(second)) for first, second in pairs]

    def _merge_lines(self) -> list[str]:
        lines = untrusted.read_text(self.folder / MERGES, _LARGEST).split("\n")
        return [line.rstrip("\r") for line in lines if line.strip() and line[:9] != "#version:"]

    def _ids(self, name: str, vocab: Any) -> dict[str, int]:
        vocab = vocab if isinstance(vocab, dict) else {"": None}
        if not all(type(number) is int and number >= 0 for number in vocab.values()):
            raise self.error(name, "has no object of ids by token")
        return {str(token): number for token, number in vocab.items()}

    def flag(self, key: str, *, default: bool) -> bool:
        """A setting of tokenizer_config.json that is true or false."""
        value = self.settings.get(key, default)
        if not isinstance(value, bool):
            raise self.error(SETTINGS, f"{key} is {str(value)[:40]!r}, not true or false")
        return value

    def part(self, name: str) -> dict[str, Any]:
        """A part of tokenizer.json, say its "normalizer"; empty where it is absent."""
        part = self.whole.get(name) or {}
        if not isinstance(part, dict):
            raise self.error(WHOLE, f"its {name} is no object")
        return part

    @property
    def normalizers(self) -> list[dict[str, Any]]:
        """The steps of tokenizer.json's normalizer, one after the other."""
        normalizer = self.part("normalizer")
        steps = normalizer.get("normalizers") or ([normalizer] if normalizer else [])
        if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
            raise self.error(WHOLE, "its normalizer is no list of steps")
        return steps

    @cached_property
    def added(self) -> dict[int, AddedToken]:
        """The added tokens that have an id, in the order of these."""
        entries = self.whole.get("added_tokens") or []
        if not isinstance(entries, list):
            raise self.error(WHOLE, "its added_tokens are no list")
        found = [(entry.get("id"), entry) for entry in entries if isinstance(entry, dict)]
        newer = self.settings.get("added_tokens_decoder") or dict(self._added_long_ago())
        if not isinstance(newer, dict):
            raise self.error(SETTINGS, "its added_tokens_decoder is no object")
        by_id = [(self._id(number), value) for number, value in (*found, *newer.items())]
        return {i: self._token(value) for i, value in sorted(by_id, key=lambda entry: entry[0])}

    def _added_long_ago(self) -> Iterator[tuple[Any, Any]]:
        """The tokens of the older file; they are special where the library finds that they are."""
        named = [self._declared.get(key) for key in _ROLES]
        listed = self._listed(self.settings, "extra", "additional") or self._listed(
            self._older, "extra"
        )
        special = {self._token(value).content for value in (*named, *listed) if value is not None}
        for token, number in self._object(_ADDED).items():
            yield number, {"content": token, "special": token in special}

    def role(self, key: str) -> str | None:
        """The declared token that plays a part, say "cls_token"."""
        value = self._declared.get(key)
        return None if value is None else self._token(value).content

    def declared(self) -> list[AddedToken]:
        """The declared special tokens, in the library's order."""
        named = [self._declared.get(key) for key in _ROLES]
        others = [
            value
            for key, value in self.settings.items()
            if key.endswith("_token") and key not in _ROLES and isinstance(value, str | dict)
        ]
        both = (self.settings, self._older)
        listed = next(filter(None, (self._listed(o, "extra", "additional") for o in both)), [])
        return [self._token(value) for value in (*named, *others, *listed) if value is not None]

    def _listed(self, declared: dict[str, Any], *kinds: str) -> list[Any]:
        listed: Any = next(filter(None, (declared.get(f"{k}_special_tokens") for k in kinds)), [])
        listed = list(listed.values()) if isinstance(listed, dict) else listed
        if not isinstance(listed, list):
            raise InputError(f"{self.folder}: its special tokens are {str(listed)[:40]!r}, no list")
        return listed

    @cached_property
    def _older(self) -> dict[str, Any]:
        return {} if "added_tokens_decoder" in self.settings else self._object(_MAP)

    @property
    def _declared(self) -> dict[str, Any]:
        return self.settings | self._older

    def _id(self, number: Any) -> int:
        if not (str(number).isdecimal() and len(str(number)) < 10):
            raise InputError(f"{self.folder}: its tokenizer has {str(number)[:40]!r} for an id")
        return int(number)

    def _token(self, value: Any) -> AddedToken:
        """A token as the files spell it: its text, or an object with its text and flags."""
        value = {"content": value, "special": True} if isinstance(value, str) else value
        if not isinstance(value, dict) or not isinstance(value.get("content"), str):
            raise InputError(f"{self.folder}: its tokenizer has {str(value)[:80]!r} for a token")
        flags = {name: value[name] for name in _FLAGS if isinstance(value.get(name), bool)}
        return AddedToken(value["content"], **flags)

    def _has(self, name: str) -> bool:
        return os.path.lexists(self.folder / name)  # a link that leads nowhere is no absent file

    def _object(self, name: str) -> dict[str, Any]:
        if not self._has(name):
            return {}
        return untrusted.read_object(self.folder / name, _LARGEST, finite=False)

    def error(self, name: str, what: str) -> InputError:
        """The error to raise about one of the files."""
        return InputError(f"{self.folder / name}: {what}")


def read_vocab(path: Path) -> list[str]:
    """The tokens of a vocab.txt, one a line. Raises InputError for a token that stands twice.

    Blank lines hold a place and are no token.
    """
    lines = untrusted.read_text(path, _LARGEST).split("\n")
    tokens = [line.rstrip("\r") for line in lines[: len(lines) - (lines[-1] == "")]]
    if twice := next(_repeated(tokens), None):
        raise InputError(f"{path}: {twice!r} stands there twice")
    return tokens


def _repeated(tokens: list[str]) -> Iterator[str]:
    seen: set[str] = set()
    for token in tokens:
        if token in seen and token:
            yield token
        seen.add(token)

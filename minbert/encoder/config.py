"""`EncoderConfig`: an encoder's shape and dropout rates, as a published config.json gives them.

RoBERTa (Liu et al. 2019) and XLM-R (Conneau et al. 2020) are BERT's encoder with other numbers and
tokens. What else differs is how they count positions and how their files name things: a `Family`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minbert.encoder.tensor_files import some
from minbert.support import untrusted
from minbert.support.console import log
from minbert.support.errors import InputError

_LARGEST = 2**24  # no published size comes near
_MOST_LAYERS = 2**12  # each is made before a file can show that it is not there
_REQUIRED = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
_PADDING = "pad_token_id"  # BERT's is not read: padding is masked, and the tokenizer knows its id


@dataclass(frozen=True)
class Family:
    """What the published encoders of a `model_type` have in common.

    `model` and `classifier` are the reference library's classes, and `prefix` stands before the
    names of the encoder's tensors where a head is beside it.
    """

    model: str
    classifier: str
    prefix: str
    positions_follow_padding: bool  # a text's first position has the number pad_token_id + 1


FAMILIES = {
    "bert": Family("BertModel", "BertForSequenceClassification", "bert.", False),
    "roberta": Family("RobertaModel", "RobertaForSequenceClassification", "roberta.", True),
    "xlm-roberta": Family(
        "XLMRobertaModel", "XLMRobertaForSequenceClassification", "roberta.", True
    ),
}
PREFIXES = tuple(dict.fromkeys(family.prefix for family in FAMILIES.values()))
_IMPLEMENTED = {
    "model_type": tuple(FAMILIES),
    "hidden_act": ("gelu", "gelu_python"),  # the exact one, by erf, under its older name too
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
}
# keys that nearly every published BERT has, and that nothing here would read
_USUAL = {
    *("architectures", "tokenizer_class", "transformers_version", "_name_or_path", "use_cache"),
    *("torch_dtype", "dtype", "gradient_checkpointing", "classifier_dropout"),
    *("tie_word_embeddings", "bos_token_id", "eos_token_id"),
}
_LONGEST_KEY = 60  # letters of a key that the log repeats


@dataclass(frozen=True)
class EncoderConfig:
    """An encoder's shape and dropout, by published key. Raises InputError for a bad value."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pad_token_id: int = 0
    model_type: str = "bert"

    @property
    def family(self) -> Family:
        """What the published encoders of this type have in common."""
        return FAMILIES[self.model_type]

    @property
    def first_position(self) -> int:
        """The number of the position of a text's first token."""
        return self.pad_token_id + 1 if self.family.positions_follow_padding else 0

    @property
    def longest(self) -> int:
        """The tokens of the longest text that has a position for each."""
        return self.max_position_embeddings - self.first_position

    @property
    def has_dropout(self) -> bool:
        """Whether a layer has any dropout."""
        return max(self.hidden_dropout_prob, self.attention_probs_dropout_prob) > 0

    def with_dropout(self, rate: float) -> EncoderConfig:
        """The same shape with this rate of dropout, also on the attention weights."""
        return dataclasses.replace(
            self, hidden_dropout_prob=rate, attention_probs_dropout_prob=rate
        )

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            if entry.type == "str":
                continue
            value = getattr(self, entry.name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or (entry.type == "int" and not isinstance(value, int)):
                raise InputError(f"config.json: {entry.name} is {str(value)[:80]!r}, not a number")
        for name in (*_REQUIRED, "intermediate_size", "max_position_embeddings", "type_vocab_size"):
            if not 1 <= getattr(self, name) <= _LARGEST:
                raise InputError(f"config.json: {name} is {getattr(self, name)}, not 1..{_LARGEST}")
        if self.num_hidden_layers > _MOST_LAYERS:
            layers = self.num_hidden_layers
            raise InputError(f"config.json: num_hidden_layers is {layers}, not 1..{_MOST_LAYERS}")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"config.json: {name} is {getattr(self, name)}, not in [0, 1)")
        for name in ("layer_norm_eps", "initializer_range"):
            if not 0 <= getattr(self, name) <= _LARGEST:
                raise InputError(f"config.json: {name} is {getattr(self, name)}, not 0..{_LARGEST}")
        if self.family.positions_follow_padding and self.pad_token_id < 0:
            raise InputError(f"config.json: {_PADDING} is {self.pad_token_id}, not 0 or more")
        if self.longest < 1:
            counted = f"{self.max_position_embeddings} positions from number {self.first_position}"
            raise InputError(f"config.json: {counted} on are none")
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"config.json: hidden_size {self.hidden_size} is not divisible by "
                f"num_attention_heads {self.num_attention_heads}"
            )

    @classmethod
    def from_file(cls, path: Path) -> EncoderConfig:
        """Read a published `config.json`; keys that do not change the encoder are passed over.

        The log names them, except for those that nearly every published BERT has.
        Raises InputError for an unreadable file and for an architecture that the published keys
        can name but this encoder does not implement.
        """
        keys = untrusted.read_object(path, finite=False)
        _refuse_other_architectures(path, keys)
        if missing := sorted(set(_REQUIRED) - keys.keys()):
            raise InputError(f"{path}: lacks {', '.join(missing)}")
        known = {entry.name for entry in dataclasses.fields(cls)}
        read = FAMILIES[keys.get("model_type", "bert")].positions_follow_padding
        if not read and type(keys.get(_PADDING, 0)) is not int:
            known.remove(_PADDING)
        chosen = {name: value for name, value in keys.items() if name in known}
        if unread := sorted(keys.keys() - known - _IMPLEMENTED.keys() - _USUAL):
            names = some([name[:_LONGEST_KEY] for name in unread], most=20)
            log.info("%s: keys are passed over, since nothing here reads them: %s", path, names)
        try:
            return cls(**chosen)
        except InputError as error:
            raise InputError(f"{path.parent / str(error)}") from error

    def to_published(self) -> dict[str, Any]:
        """Return the published keys, those that name the architecture among them."""
        return {
            "architectures": [self.family.model],
            "model_type": self.model_type,
            "hidden_act": "gelu",
            "position_embedding_type": "absolute",
            **dataclasses.asdict(self),
        }


def _refuse_other_architectures(path: Path, keys: dict[str, Any]) -> None:
    names = keys.get("architectures") or []
    if not isinstance(names, list):
        raise InputError(f"{path}: architectures is {names!r}, not a list of names")
    for name in names if keys.get("model_type") is None else ():  # else a head of any name
        if not str(name).startswith("Bert"):
            raise InputError(f"{path}: names no model_type, and {name!r} is not BERT's")
    for key, values in _IMPLEMENTED.items():
        if key in keys and keys[key] not in values:
            known = ", ".join(repr(value) for value in values if value is not None)
            raise InputError(f"{path}: {key} {keys[key]!r} is not implemented, only {known}")

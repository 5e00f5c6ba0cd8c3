"""`EncoderConfig`: an encoder's shape and dropout rates, as a published config.json gives them."""

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
_UNREAD = "pad_token_id"  # padding is masked, whatever its id; the tokenizer knows that
_IMPLEMENTED = {
    "model_type": ("bert",),
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
    """A BERT encoder's shape and dropout, by published key. Raises InputError for a bad value."""

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

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
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
        if type(keys.get(_UNREAD, 0)) is not int:
            known.remove(_UNREAD)
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
            "architectures": ["BertModel"],
            "model_type": "bert",
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
            raise InputError(f"{path}: architecture {name!r} is not implemented, only BERT's")
    for key, values in _IMPLEMENTED.items():
        if key in keys and keys[key] not in values:
            raise InputError(f"{path}: {key} {keys[key]!r} is not implemented, only {values[0]!r}")

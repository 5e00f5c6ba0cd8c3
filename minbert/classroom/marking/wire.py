"""How inputs go into a submission's process, and how its outputs come back: bytes, never code.

What comes back may be anything. It is read within bounds, and each exercise for itself.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from minbert.classroom.judge import Tensors
from minbert.support.console import printable
from minbert.support.untrusted import parsed

_LARGEST = 2**17  # bytes of one exercise's outputs; right ones have a few thousand
_LONGEST = 300  # letters of an error that are kept
_KINDS = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool}
_KINDS |= {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}

Outcome = Tensors | str  # an exercise's outputs, or what went wrong


@dataclass(frozen=True)
class Broken(Exception):
    """An answer that `packed` never writes; `words` say what is wrong with it."""

    words: str


def packed_inputs(exercises: Mapping[str, Tensors]) -> bytes:
    """The inputs of a step's exercises, by their names."""
    every = {f"{name}|{key}": t for name, own in exercises.items() for key, t in own.items()}
    return save({key: tensor.contiguous() for key, tensor in every.items()})


def unpacked_inputs(content: bytes) -> dict[str, dict[str, Tensor]]:
    """The inputs again; an exercise without any is not there."""
    found: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in load(content).items():
        exercise, _, name = key.partition("|")
        found[exercise][name] = tensor
    return found


def packed(outcomes: Mapping[str, Outcome]) -> bytes:
    """A line of JSON with errors and the size of each exercise's outputs, then these."""
    errors = {name: cut(found) for name, found in outcomes.items() if isinstance(found, str)}
    blobs: dict[str, bytes] = {}
    for name, found in outcomes.items():
        if not isinstance(found, str):
            try:
                blobs[name] = _blob(found)
            except Exception as error:  # a class of the student's may raise anything
                errors[name] = cut(f"{type(error).__name__}: {error}")
    sizes = {name: len(blob) for name, blob in blobs.items()}
    head = json.dumps({"errors": errors, "sizes": sizes}).encode()
    return b"\n".join([head, b"".join(blobs.values())])


def _blob(outputs: Tensors) -> bytes:
    for name, tensor in outputs.items():
        if tensor.dtype not in _KINDS:
            raise TypeError(_no_numbers(name, tensor))
        if tensor.numel() * tensor.element_size() > _LARGEST // 2:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, which is far too large")
    return save({name: t.detach().cpu().contiguous().clone() for name, t in outputs.items()})


def _no_numbers(name: str, tensor: Tensor) -> str:
    return f"{name} holds {tensor.dtype}, which are no plain numbers"


def unpacked(content: bytes) -> dict[str, Outcome]:
    """Each exercise's outputs or error, as far as they can be read. Raises Broken."""
    head, _, rest = content.partition(b"\n")
    try:
        found = parsed(head)
        errors, sizes = found["errors"].items(), found["sizes"].items()
        outcomes: dict[str, Outcome] = {str(name): cut(str(words)) for name, words in errors}
        for name, size in sizes:
            if not 0 < size <= _LARGEST:
                raise ValueError("its size")
            outcomes[str(name)], rest = _tensors(rest[:size]), rest[size:]
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise Broken("what came back is no answer") from error
    return outcomes


def _tensors(blob: bytes) -> Outcome:
    try:
        found = load(blob)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError, OverflowError):
        return "its outputs cannot be read"
    for name, tensor in found.items():
        if tensor.dtype not in _KINDS:
            return cut(_no_numbers(name, tensor))
    return found


def cut(text: str) -> str:
    """The text without control characters, and not too long."""
    return printable(text[:_LONGEST])

"""A step's inputs, expected outputs and known mistakes in one file, so that no formula is needed.

The tensors of an exercise are named `exercise|input|name`, `exercise|expected|name` and
`exercise|mistake NUMBER|name`; the words of the mistakes stand in the file's metadata.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from minbert.classroom.judge import Mistake, Tensors
from minbert.support import durable_files

_WORDS = "mistakes"


@dataclass(frozen=True)
class Recorded:
    """One exercise: what it is given, what must come out, and what comes out of known mistakes."""

    inputs: Tensors
    expected: Tensors
    mistakes: tuple[Mistake, ...] = ()


def save(path: Path, exercises: Mapping[str, Recorded]) -> None:
    """Write the file."""
    tensors: dict[str, Tensor] = {}
    words: dict[str, list[str]] = {}
    for name, one in exercises.items():
        words[name] = [mistake.words for mistake in one.mistakes]
        parts = {"input": one.inputs, "expected": one.expected}
        parts |= {f"mistake {n}": mistake.outputs for n, mistake in enumerate(one.mistakes)}
        for part, own in parts.items():
            tensors |= {f"{name}|{part}|{k}": t.detach().clone() for k, t in own.items()}
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    durable_files.save_tensors(path, whole, {_WORDS: json.dumps(words)})


def load(path: Path) -> dict[str, Recorded]:
    """Read the file, by the names of its exercises."""
    with safe_open(path, framework="pt") as file:
        words: dict[str, list[str]] = json.loads(file.metadata()[_WORDS])
        parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for key in file.keys():  # noqa: SIM118  it is no mapping
            exercise, part, name = key.split("|")
            parts[f"{exercise}|{part}"][name] = file.get_tensor(key)
    return {name: _recorded(name, said, parts) for name, said in words.items()}


def _recorded(name: str, words: list[str], parts: Mapping[str, dict[str, Tensor]]) -> Recorded:
    mistakes = (Mistake(said, parts.get(f"{name}|mistake {n}", {})) for n, said in enumerate(words))
    own = (parts.get(f"{name}|{part}", {}) for part in ("input", "expected"))
    inputs, expected = own
    return Recorded(inputs, expected, tuple(mistakes))

"""What an encoder's folder recommends to fine-tune it with: its `recommended.json`."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from minbert.finetune.config import COURSE_RATES, RunConfig
from minbert.support import untrusted
from minbert.support.errors import InputError

RECOMMENDED = "recommended.json"
RECOMMENDED_TYPES = {
    "lr": float,
    "head_lr": float,
    "epochs": int,
    "batch_size": int,
    "pooling": str,
}


def recommended(folder: Path, option: str) -> dict[str, Any]:
    """What an encoder's folder recommends of learning rates, epochs, batch size and pooling.

    Its `recommended.json` has them under the name of the option. Raises InputError, naming the
    file, for one that cannot be read so, whichever option it is about.
    """
    path = folder / RECOMMENDED
    if not (path.exists() or path.is_symlink()):
        return {}
    try:
        options = _object(untrusted.read_object(path), COURSE_RATES, "the file")
        advice = {name: _advice(values, name) for name, values in options.items()}
    except (ValueError, OverflowError, InputError) as error:
        raise InputError(f"{path}: no recommendation can be read ({error})") from error
    return advice.get(option, {})


def _advice(values: Any, option: str) -> dict[str, Any]:
    """What is recommended for an option, checked as the flags of these names would be."""
    advice = _object(values, RECOMMENDED_TYPES, option)
    for name, value in advice.items():
        kind = RECOMMENDED_TYPES[name]
        if type(value) is not kind and (kind, type(value)) != (float, int):
            raise ValueError(f"{name} is {value!r}, which --{name} does not take")
        advice[name] = kind(value)
    if "head_lr" in advice and ("lr" not in advice or option != "finetune"):
        raise ValueError("head_lr stands only beside the lr of finetune that it goes with")
    RunConfig(**advice)  # within the flags' limits
    return advice


def _object(values: Any, known: Collection[str], what: str) -> dict[str, Any]:
    """A copy of a JSON object with no other keys than `known`."""
    if not isinstance(values, dict):
        raise ValueError(f"{what} is no object {{...}}")
    if unknown := sorted(values.keys() - set(known)):
        raise ValueError(f"{unknown[0]} is none of {', '.join(known)}")
    return dict(values)

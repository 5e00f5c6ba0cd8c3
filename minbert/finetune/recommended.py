"""What an encoder's folder recommends to fine-tune it with: `recommended.json`, and its pooling."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from minbert.encoder.pooling import POOLING_FILE, named_pooling
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
_FOLLOWED = "mean"  # the one pooling that sentence-transformers and this package have in common


def recommended(folder: Path, option: str) -> dict[str, Any]:
    """What an encoder's folder recommends of learning rates, epochs, batch size and pooling.

    Its `recommended.json` has them under the name of the option. A pooling that it does not name is
    the one that sentence-transformers' file names. Raises InputError, naming the file, for one that
    cannot be read so, whichever option it is about.
    """
    named = {"pooling": _FOLLOWED} if named_pooling(folder) == _FOLLOWED else {}
    return {**named, **_advised(folder, option)}


def origins(typed: RunConfig) -> Iterator[str]:
    """Lines that say which settings come from which file of the encoder's folder."""
    folder = Path(str(typed.weights))
    own, named = _advised(folder, typed.option), named_pooling(folder)
    if taken := typed.taken_from(own):
        yield f"{', '.join(taken)}: as {RECOMMENDED} in the encoder's folder says"
    if typed.pooling is not None or "pooling" in own or named is None:
        return
    if named == _FOLLOWED:
        yield f"pooling {named}: as {POOLING_FILE} in the encoder's folder says"
    else:
        yield (
            f"{POOLING_FILE} in the encoder's folder names the pooling {named}, which this package "
            "does not have: see --pooling in --help"
        )


def _advised(folder: Path, option: str) -> dict[str, Any]:
    """The recommendation in `recommended.json`, empty without one."""
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

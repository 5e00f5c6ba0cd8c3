"""Labels as files spell them, and predictions as logits imply them."""

import contextlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from minbert.tasks.task import Array

LABEL_BYTES = 256  # of the longest name that a class may have
_SHOWN, _LONGEST = 8, 40  # names in a message, letters of what is none


def plain_number(text: str) -> float:
    """A number in plain spelling; `float` alone would also read 0_1 and other scripts' digits.

    Raises ValueError for anything else, `nan` and `inf` included.
    """
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.ASCII | re.IGNORECASE) is None:
        raise ValueError(f"{text!r} is not a number")
    return float(text)


def class_label(count: int) -> Callable[[str], float]:
    """A parser of class numbers 0 to `count` - 1."""

    def parse(text: str) -> float:
        value = plain_number(text)
        if value not in range(count):
            raise ValueError(f"{text!r} is not one of 0..{count - 1}")
        return value

    return parse


def name_label(
    names: Sequence[str], others: Mapping[str, int] = MappingProxyType({})
) -> Callable[[str], float]:
    """A parser of classes by their names, to their places among them.

    Where all names are numbers, other spellings of these are read too, such as 1.0 for 1. `others`
    are further names, in small letters, that stand for a place in any case.
    """
    places = {name: place for place, name in enumerate(names)}
    by_number: dict[float, int] = {}
    with contextlib.suppress(ValueError):  # a name that is no number leaves it empty
        by_number = {plain_number(name): at for name, at in reversed(places.items())}
    known = f"{', '.join(map(repr, names[:_SHOWN]))}{', ...' if len(names) > _SHOWN else ''}"

    def parse(text: str) -> float:
        place = places.get(text, others.get(text.lower()))
        if place is None and by_number:
            with contextlib.suppress(ValueError):
                place = by_number.get(plain_number(text))
        if place is None:
            raise ValueError(f"{text[:_LONGEST]!r} is not one of {known}")
        return float(place)

    return parse


def score_label(top: float) -> Callable[[str], float]:
    """A parser of scores from 0 to `top`."""
    return score_within(0, top)


def score_within(low: float, high: float) -> Callable[[str], float]:
    """A parser of scores from `low` to `high`."""

    def parse(text: str) -> float:
        value = plain_number(text)
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(f"{text!r} is not between {low:g} and {high:g}")
        return value

    return parse


def largest(logits: Array) -> Array:
    """The class with the largest logit: (B, k) to (B,)."""
    return np.argmax(logits, axis=-1)


def above_half(logits: Array) -> Array:
    """Whether one logit s has σ(s) > ½, as 0 or 1: (B, 1) to (B,)."""
    return (logits[:, 0] > 0).astype(np.float32)


def clipped(top: float) -> Callable[[Array], Array]:
    """A decoder that keeps one output within 0 and `top`: (B, 1) to (B,)."""

    def decode(logits: Array) -> Array:
        return np.clip(logits[:, 0], 0.0, top).astype(np.float32)

    return decode

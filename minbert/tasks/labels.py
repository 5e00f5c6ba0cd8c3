"""Labels as files spell them, and predictions as logits imply them."""

import math
import re
from collections.abc import Callable

import numpy as np

from minbert.tasks.task import Array


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


def score_label(top: float) -> Callable[[str], float]:
    """A parser of scores from 0 to `top`."""

    def parse(text: str) -> float:
        value = plain_number(text)
        if not (math.isfinite(value) and 0 <= value <= top):
            raise ValueError(f"{text!r} is not between 0 and {top:g}")
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

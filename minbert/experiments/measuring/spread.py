"""The median and the quartiles of several measurements, as columns and as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Spread(NamedTuple):
    """The median of several measurements, and their lower and upper quartile."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one value or more."""
        low, median, high = np.percentile(values, [25, 50, 75])
        return cls(float(median), float(low), float(high))

    @classmethod
    def of_ratios(cls, values: Sequence[float], others: Sequence[float]) -> Spread:
        """The spread of `values` over `others`, divided round by round."""
        return cls.of([value / other for value, other in zip(values, others, strict=True)])

    def columns(self, name: str) -> dict[str, float]:
        """The three columns NAME, NAME_low and NAME_high of a table for programs."""
        return {name: self.median, f"{name}_low": self.low, f"{name}_high": self.high}


def with_quartiles(median: float, low: float, high: float, digits: str = ".2f") -> str:
    """The three numbers as `median (low to high)`."""
    return f"{median:{digits}} ({low:{digits}} to {high:{digits}})"

"""The rules by which the sentiment of a phrase follows from the sentiment of what it is made of.

A valence runs from -2 (hated) to 2 (loved). In a word list it is whole, in a phrase it need not be.
Each function is one way in which English combines opinions. Their order of magnitude follows the
literature on shifting: a negation moves a valence towards the other side rather than mirroring it,
so "not superb" is lukewarm where "not good" is bad.
"""

from typing import NamedTuple

VALENCES = {"hated": -2, "disliked": -1, "middling": 0, "liked": 1, "loved": 2}
SHIFT = 1.8


class Phrase(NamedTuple):
    """A text and its valence; `verb` is False for a noun phrase."""

    text: str
    valence: float
    verb: bool = True


def sign(value: float) -> int:
    """Return -1, 0 or 1."""
    return (value > 0) - (value < 0)


def grade(valence: float) -> int:
    """Return the grade, 0 to 4, of a valence: one unit each, the outer ones what is left."""
    return (valence > -1.5) + (valence > -0.5) + (valence >= 0.5) + (valence >= 1.5)


def clipped(valence: float) -> float:
    """Return the nearest valence from -2 to 2."""
    return max(-2.0, min(2.0, valence))


def intensified(valence: float) -> float:
    """Return the valence of "very good" from that of "good"."""
    return clipped(1.6 * valence)


def toned_down(valence: float) -> float:
    """Return the valence of "rather good", which is lukewarm, from that of "good"."""
    return 0.45 * valence


def negated(valence: float) -> float:
    """Negate: "not good" is -0.8, "not superb" 0.2, "not dull" 0.8, "not dreadful" -0.2."""
    return valence - SHIFT * sign(valence)


def refused(valence: float) -> float:
    """Return the opposite, mildly: "anything but superb", "nothing about it is dull"."""
    return -float(sign(valence))


def unreal(valence: float) -> float:
    """Return the valence of "could have been superb", so it is not; or "dreadful" likewise."""
    return -0.8 * sign(valence)


def joined(first: float, second: float) -> float:
    """Return the valence of "good and superb": what is said twice is said more strongly."""
    return clipped(0.6 * (first + second))


def contrasted(aside: float, main: float) -> float:
    """Return the valence of "superb but dull" and "dull though superb": the main clause wins."""
    return clipped(0.35 * aside + 0.75 * main)


def conceding(valence: float) -> float:
    """Return the valence of "for all its charm, the plot drags" from that of its main clause."""
    return contrasted(-sign(valence), valence)

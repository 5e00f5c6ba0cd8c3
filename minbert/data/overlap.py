"""Texts that two tasks share: one's training set may hold the other's dev set."""

import re
from collections.abc import Iterable
from pathlib import Path

from minbert.data.examples import Example, Split
from minbert.support.console import log

_NO_LETTER = re.compile(r"[\W_]+")
Texts = frozenset[int]
Scored = dict[Path, tuple[str, Texts]]  # a dev file's task and texts


def fingerprints(examples: Iterable[Example]) -> Texts:
    """A number for each example's texts, whatever their case, blanks and punctuation."""
    return frozenset(hash(tuple(map(_plain, example.texts))) for example in examples)


def warn_of_shared(train: Split, scored: Scored) -> None:
    """Say how many examples of other tasks' dev files stand in a training set."""
    texts = fingerprints(train.examples)
    for path, (name, own) in scored.items():
        if name != train.task.name and (shared := len(own & texts)):
            warning = "%s: %d of its %d different examples stand in the training set of %s too, so "
            warning += "its scores flatter a model that has trained on them"
            log.warning(warning, path, shared, len(own), train.task.name)


def _plain(text: str) -> str:
    return _NO_LETTER.sub(" ", text.casefold()).strip()

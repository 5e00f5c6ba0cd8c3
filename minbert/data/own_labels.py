"""The labels of a user's own task that names none: those of its train file."""

from dataclasses import replace
from pathlib import Path

from minbert.data.reading import labels_in
from minbert.support.errors import InputError
from minbert.tasks.labels import plain_number
from minbert.tasks.own import CLASSES, Definition

_MOST = 1000  # a column with more is one of texts or ids
_ANY = ("some", "other")


def with_labels(own: Definition) -> Definition:
    """The definition with all labels of its train file, where it is of classes and names none.

    They are in the order of the alphabet or, if all are numbers, of these. Raises InputError where
    the file cannot be read, or has labels that no task can have.
    """
    if own.kind != CLASSES or own.labels:
        return own
    path = Path(own.files["train"])
    found = labels_in(replace(own, labels=_ANY).task(), path)
    if not 2 <= len(found) <= _MOST:
        raise InputError(
            f"{path}: {len(found):,} labels in column {own.label}, not 2 to {_MOST:,}; "
            f"name the labels of {own.name} in its file"
        )
    try:
        return replace(own, labels=tuple(_in_order(found)))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _in_order(labels: set[str]) -> list[str]:
    try:
        return sorted(labels, key=plain_number)
    except ValueError:
        return sorted(labels)

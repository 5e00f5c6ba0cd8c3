"""Which files are predictions, and of what: by their header and ids first, by their name last."""

import re
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from minbert.grade.gold import Ids, Part
from minbert.tasks.predictions import FOLDER, default_file
from minbert.tasks.registry import TASKS

_OPTIONS = {
    "pretrain": "pretrain",
    "last-linear-layer": "pretrain",
    "finetune": "finetune",
    "full-model": "finetune",
}
_PREFIX = "predicted_"
_ALIKE = 0.75  # of difflib: from here on a column is a known one, misspelled


@dataclass(frozen=True)
class Role:
    """What a name claims: the part, and the option of a single-task file (None: multitask)."""

    part: Part
    option: str | None


@dataclass(frozen=True)
class _Known:
    """What is known of the names of prediction files and of their columns."""

    columns: Mapping[bytes, set[str]]  # the tasks of a column
    names: Mapping[str, str]  # each task by its names, in small letters
    splits: Mapping[str, str]
    pattern: re.Pattern[str]
    handed_out: Set[str]


def _known() -> _Known:
    """What follows from the tasks of the registry, a user's own among them."""
    return _known_of(tuple((task.name, task.scored_splits) for task in TASKS.values()))


@cache
def _known_of(tasks: tuple[tuple[str, tuple[str, ...]], ...]) -> _Known:
    entries = [TASKS[name] for name, _ in tasks]
    spellings = [
        (column.encode(), task.name)
        for task in entries
        for column in (task.prediction_column, *task.other_columns)
    ]
    columns = {
        column: {name for own, name in spellings if own == column} for column, _ in spellings
    }
    names = {name.lower(): task.name for task in entries for name in (task.name, *task.other_names)}
    splits = {split.lower(): split for task in entries for split in task.scored_splits}
    pattern = re.compile(
        rf"(?:({'|'.join(_OPTIONS)})-)?({'|'.join(names)})-({'|'.join(splits)})(?:-student)?"
        r"-out(?:put)?\.(?:csv|tsv|txt)",
        re.IGNORECASE,
    )
    handed_out = {
        default_file(task, split, alone=alone).format(option=option)
        for task in entries
        for split in task.scored_splits
        for alone in (False, True)
        for option in _OPTIONS
    }
    return _Known(columns, names, splits, pattern, handed_out)


def tasks_of(column: bytes | None) -> Set[str]:
    """The tasks whose predictions stand in a column of this name."""
    return _known().columns.get(column or b"", set())


def claimed(name: str) -> Role | None:
    """The role that a prediction file's name, with or without folders, claims."""
    known = _known()
    found = known.pattern.fullmatch(name.rpartition("/")[2])
    if found is None:
        return None
    option, task, split = (group and group.lower() for group in found.groups())
    part = Part(known.names[task], known.splits[split])
    return Role(part, _OPTIONS[option] if option else None)


def remoteness(path: str) -> tuple[bool, bool, int, str]:
    """A sorting key: the handout's folder before its names, these before depth and alphabet."""
    folder, _, name = path.rpartition("/")
    is_elsewhere = folder.rpartition("/")[2].lower() != FOLDER
    return is_elsewhere, name not in _known().handed_out, path.count("/"), path


def is_courses(column: bytes) -> bool:
    """Whether a column is one of the course's, even if it is misspelled."""
    own = column[:100].decode("utf-8", "replace").lower().removeprefix(_PREFIX)
    known = [other.decode().lower().removeprefix(_PREFIX) for other in _known().columns]
    return bool(get_close_matches(own, known, n=1, cutoff=_ALIKE))


def part_of(
    names: Collection[bytes], column: bytes | None, role: Role | None, ids: Mapping[Part, Ids]
) -> Part | None:
    """The part that most of the ids belong to; None where none is known.

    Parts may share ids. Among those that have at least half as many as the best, the header's task
    wins, then the name's part, then the number.
    """
    found = {part: sum(name in rows for name in names) for part, rows in ids.items()}
    if not any(found.values()):
        found = {part: sum(rows.row(n) is not None for n in names) for part, rows in ids.items()}
    best = max(found.values(), default=0)
    if best == 0:
        return None
    tasks = tasks_of(column)

    def preference(part: Part) -> tuple[bool, bool, int]:
        return part.task in tasks, role is not None and part == role.part, found[part]

    return max((part for part in found if 2 * found[part] >= best), key=preference)

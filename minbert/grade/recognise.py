"""Which files are predictions, and of what: by their header and ids first, by their name last."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from minbert.grade.gold import Part
from minbert.tasks.registry import TASKS

_SPELLINGS = [
    (column.encode(), name)
    for name, task in TASKS.items()
    for column in (task.prediction_column, *task.other_columns)
]
COLUMNS = {column: {name for own, name in _SPELLINGS if own == column} for column, _ in _SPELLINGS}
_NAMES = {
    other.lower(): task.name for task in TASKS.values() for other in (task.name, *task.other_names)
}
_SPLITS = {split.lower(): split for task in TASKS.values() for split in task.scored_splits}
_OPTIONS = {
    "pretrain": "pretrain",
    "last-linear-layer": "pretrain",
    "finetune": "finetune",
    "full-model": "finetune",
}
_NAME = re.compile(
    rf"(?:({'|'.join(_OPTIONS)})-)?({'|'.join(_NAMES)})-({'|'.join(_SPLITS)})(?:-student)?"
    r"-out(?:put)?\.(?:csv|tsv|txt)",
    re.IGNORECASE,
)
_BOM = b"\xef\xbb\xbf"
_SNIFFED = 200  # rows


@dataclass(frozen=True)
class Role:
    """What a name claims: the part, and the option of a single-task file (None: multitask)."""

    part: Part
    option: str | None


def claimed(name: str) -> Role | None:
    """The role that a prediction file's name, with or without folders, claims."""
    found = _NAME.fullmatch(name.rpartition("/")[2])
    if found is None:
        return None
    option, task, split = (group and group.lower() for group in found.groups())
    return Role(Part(_NAMES[task], _SPLITS[split]), _OPTIONS[option] if option else None)


def header_column(line: bytes) -> bytes | None:
    """The second column's name, if the line is a prediction file's header, known or not."""
    name, column = cells(line.removeprefix(_BOM))
    return column if name == b"id" and column.startswith(b"Predicted_") else None


def cells(line: bytes) -> tuple[bytes, bytes]:
    """Id and value: what stands before and after the last comma or, without one, the last tab."""
    left, mark, right = line.rpartition(b",")
    if not mark:
        left, _, right = line.rpartition(b"\t")
    return left.strip(), right.strip()


def first_lines(block: bytes) -> list[bytes]:
    """The first lines of a file's first block that are not blank."""
    lines = (line.strip() for line in block.removeprefix(_BOM).split(b"\n", _SNIFFED)[:_SNIFFED])
    return [line for line in lines if line]


def part_of(
    lines: Iterable[bytes],
    column: bytes | None,
    role: Role | None,
    ids: Mapping[Part, Mapping[bytes, int]],
) -> Part | None:
    """The part that most of the lines' ids belong to; None where none is known.

    Parts may share ids. Among those that have at least half as many as the best, the header's task
    wins, then the name's part, then the number.
    """
    names = [cells(line)[0] for line in lines]
    found = {part: sum(name in rows for name in names) for part, rows in ids.items()}
    best = max(found.values(), default=0)
    if best == 0:
        return None
    tasks = COLUMNS.get(column, set()) if column else set()

    def preference(part: Part) -> tuple[bool, bool, int]:
        return part.task in tasks, role is not None and part == role.part, found[part]

    return max((part for part in found if 2 * found[part] >= best), key=preference)

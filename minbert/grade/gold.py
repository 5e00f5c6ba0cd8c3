"""What submissions are held against: the ids of every data file, and the labels of one split."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minbert.data.reading import columns_of, ids_in, read_split
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.places import COURSE, SAMPLE
from minbert.tasks.own import Definition
from minbert.tasks.registry import BUILT_IN, COURSE_TASKS, TASKS, learn
from minbert.tasks.task import Array, kind_of


class Part(NamedTuple):
    """A task's split, such as sst dev: what one prediction file is about."""

    task: str
    split: str

    def __str__(self) -> str:
        return f"{self.task} {self.split}"


class Ids(dict[bytes, int]):
    """A part's ids and their rows in its file."""

    def row(self, name: bytes) -> int | None:
        """The row of an id or, where there is none, of the only one that differs by case alone."""
        row = self.get(name)
        return self._folded.get(_folded(name)) if row is None else row

    @cached_property
    def _folded(self) -> Mapping[str, int | None]:
        """The rows by ids without case; None where two ids are the same without it.

        It is made when the first stranger asks: most classes have none.
        """
        rows: dict[str, int | None] = {}
        for name, row in self.items():
            key = _folded(name)
            rows[key] = None if key in rows else row
        return rows


def _folded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape").casefold()


@dataclass(frozen=True)
class Gold:
    """`ids`: each part's ids and their row. `labels`: a task's, NaN where a row has none.

    Rows without a label where the others have one are `optional`: the course's starter drops them.
    """

    folder: Path
    split: str  # the one that is scored
    ids: Mapping[Part, Ids]
    optional: Mapping[Part, frozenset[bytes]]
    labels: Mapping[str, Array]  # of the scored split; empty where nothing is scored
    own: tuple[str, ...] = ()  # the definitions of the user's own tasks, if it is about these
    asked: tuple[str, ...] = COURSE_TASKS  # the tasks that a submission should have

    def knows(self, name: bytes) -> bool:
        """Whether some part has the id, as it is or in another case."""
        every = self.ids.values()
        return any(name in ids for ids in every) or any(ids.row(name) is not None for ids in every)

    def train_part(self, name: bytes) -> Part | None:
        """The part of an id that stands in a train file of the folder, where there are such.

        They are read when the first stranger asks: most classes have none.
        """
        return _train_ids(self.folder, self.asked if self.own else BUILT_IN).get(name)


def read_gold(
    folder: Path | None, split: str, *, lint: bool, own: Sequence[Definition] = ()
) -> Gold:
    """Ids of all dev and test files in the folder, and the labels of `split` unless `lint`.

    None stands for `data/` if the course's files are there, else the bundled sample. With `own` it
    is about these tasks alone, whose files lie where they say, unless there is a folder. Raises
    InputError where there is nothing to hold a submission against.
    """
    sources = tuple(_placed(definition, folder).as_json() for definition in own)
    folder = _own_folder(folder, own) if own else _folder(folder)
    tasks = tuple(definition.name for definition in learn(sources)) or BUILT_IN
    ids: dict[Part, Ids] = {}
    optional: dict[Part, frozenset[bytes]] = {}
    labels: dict[str, Array] = {}
    for part in (Part(name, split) for name in tasks for split in TASKS[name].scored_splits):
        path = file_of(folder, part)
        if path is None:
            continue
        labelled = _has_labels(path, part)
        kind = "dev" if labelled else "test"
        of_kind = part.split if kind_of(part.split) == kind else kind
        examples = read_split(TASKS[part.task], of_kind, path).examples
        ids[part] = Ids((example.id.encode(), row) for row, example in enumerate(examples))
        without = (example.id.encode() for example in examples if example.label is None)
        optional[part] = frozenset(without if labelled else ())
        if labelled and part.split == split and not lint:
            known = [np.nan if example.label is None else example.label for example in examples]
            labels[part.task] = np.asarray(known, dtype=np.float64)
    if not ids or not (labels or lint):
        raise InputError(_nothing(folder, split, tasks, lint=lint))
    log.info("gold: %s/ (%s)", folder, ", ".join(map(str, ids)))
    asked = tasks if own else COURSE_TASKS
    return Gold(folder, split, ids, optional, labels, sources, asked)


@cache
def _train_ids(folder: Path, tasks: Sequence[str]) -> Mapping[bytes, Part]:
    found: dict[bytes, Part] = {}
    for part in (Part(name, "train") for name in tasks):
        task, path = TASKS[part.task], folder / _names(part)[0]
        with contextlib.suppress(InputError, OSError):
            if task.id_column in columns_of(task, path):  # numbers of rows say nothing
                found |= {name.encode(): part for name in ids_in(task, path)}
    return found


def _own_folder(folder: Path | None, own: Sequence[Definition]) -> Path:
    """The folder of the tasks' files, as given, else where they say that the first one's lie."""
    return Path(own[0].files["dev"]).parent if folder is None else _folder(folder)


def _placed(own: Definition, folder: Path | None) -> Definition:
    """A user's own task with whole paths, so that no other folder is looked into."""
    files = {split: Path(file) for split, file in own.files.items()}
    if folder is not None:
        files = {split: folder / file.name for split, file in files.items()}
    return replace(own, files={split: str(file.resolve()) for split, file in files.items()})


def _folder(folder: Path | None) -> Path:
    if folder is not None:
        if not folder.is_dir():
            raise InputError(f"--gold {folder}: no such folder")
        return folder
    names = [_names(Part(task, "dev"))[0] for task in BUILT_IN]
    return COURSE if any((COURSE / name).is_file() for name in names) else SAMPLE


def _names(part: Part) -> list[str]:
    """The course's file name; a test file with labels may go without its `-student`."""
    name = TASKS[part.task].files[part.split]
    return [name.replace("-student", ""), name] if kind_of(part.split) == "test" else [name]


def file_of(folder: Path, part: Part) -> Path | None:
    """The part's file if it is there; of two test files the one with labels."""
    paths = [folder / name for name in _names(part) if (folder / name).is_file()]
    return max(paths, key=lambda path: _has_labels(path, part), default=None)


def _has_labels(path: Path, part: Part) -> bool:
    """Whether the header says so; what is wrong with it is said by whoever reads the file."""
    task = TASKS[part.task]
    with contextlib.suppress(InputError):
        return task.label_column in columns_of(task, path)
    return False


def _nothing(folder: Path, split: str, tasks: Sequence[str], *, lint: bool) -> str:
    needed = [_names(Part(name, split))[0] for name in tasks if split in TASKS[name].files]
    labels = "" if lint else " with labels"
    return f"{folder}/: none of {', '.join(needed)} is there{labels}; --gold names their folder"

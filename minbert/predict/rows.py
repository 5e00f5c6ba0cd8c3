"""What is asked, as rows: texts from the command line, or the rows of a file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from minbert.data.examples import Split
from minbert.predict.config import PredictConfig
from minbert.predict.predictor import Predictor, as_rows
from minbert.predict.source import Source, answerable, opened
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.tasks.task import Task


@dataclass(frozen=True)
class Question:
    """Tasks that are asked about the same rows."""

    tasks: Sequence[Task]
    rows: Split


@contextlib.contextmanager
def questions(
    config: PredictConfig, predictor: Predictor, texts: Sequence[str]
) -> Iterator[list[Question]]:
    """What is asked, the tasks of equal texts together; what came from stdin goes at the end.

    Raises InputError for texts that make no rows of any task, and for a file that cannot be read.
    """
    if config.file is None:
        yield _typed(_tasks_of(config, predictor, len(texts)), texts)
        return
    if texts:
        raise InputError(f"--file {config.file}: texts stand beside it; give one or the other")
    with opened(config.file) as source:
        yield _filed(config, predictor, source)


def _tasks_of(config: PredictConfig, predictor: Predictor, count: int) -> list[Task]:
    """The tasks that are named, else trained ones: two texts are a pair where that makes sense."""
    if not count:
        raise InputError('no text: add one, as in "a sentence", or --file FILE')
    if config.task is not None:
        return _named(config.task, predictor)
    trained = [predictor.run.task(name) for name in predictor.trained]
    pairs = [task for task in trained if task.is_pair]
    single = [task for task in trained if not task.is_pair]
    return pairs if pairs and (count == 2 or not single) else single


def _named(names: Sequence[str], predictor: Predictor) -> list[Task]:
    for name in (name for name in names if name not in predictor.trained):
        if name in predictor.tasks:
            log.warning("%s: was scored but not trained in this run: it may know nothing", name)
    return [predictor.run.task(name) for name in dict.fromkeys(names)]


def _typed(tasks: Sequence[Task], texts: Sequence[str]) -> list[Question]:
    found = []
    for _, group in groupby(sorted(tasks, key=lambda task: task.is_pair), lambda t: t.is_pair):
        alike = list(group)
        found.append(Question(alike, Split.of(alike[0], as_rows(alike[0], texts))))
    return found


def _filed(config: PredictConfig, predictor: Predictor, source: Source) -> list[Question]:
    """The rows of a file, read once for all tasks that find their texts in the same columns."""
    tasks = _with_their_columns(_named(config.task or predictor.trained, predictor), config.columns)
    there = answerable(tasks, source, every=config.task is not None)
    groups = groupby(sorted(there, key=_columns), _columns)
    alike = [list(group) for _, group in groups]
    return [Question(group, source.rows(group[0])) for group in alike]


def _columns(task: Task) -> tuple[str, ...]:
    return task.text_columns


def _with_their_columns(tasks: Sequence[Task], columns: tuple[str, ...] | None) -> list[Task]:
    """The tasks, each with the columns that it looks for in a file of any layout."""
    if columns is not None:
        fitting = [task for task in tasks if len(task.text_columns) == len(columns)]
        if not fitting:
            names, typed = ", ".join(task.name for task in tasks), ",".join(columns)
            raise InputError(f"--columns {typed}: {names} takes another number of texts")
        tasks = [replace(task, text_columns=columns) for task in fitting]
    # any delimiter, and ids only where the file has some
    return [replace(task, delimiter=None, numbered=True) for task in tasks]

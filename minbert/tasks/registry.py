"""Every task that the package knows. A new task is an entry of its own and a name here.

A user's own tasks come from files (`task_file.py`). They are known from when `learn` is told of
them, and nothing in the package is made for them in particular.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from minbert.support.errors import InputError
from minbert.tasks.course import CFIMDB, QUORA, SST, STS
from minbert.tasks.own import Definition
from minbert.tasks.task import Task
from minbert.tasks.task_file import place_of, read

TASKS: Mapping[str, Task] = {task.name: task for task in (SST, QUORA, STS, CFIMDB)}

TITLES: Mapping[str, str] = {name: task.title for name, task in TASKS.items()}  # in reports
BUILT_IN = tuple(TASKS)  # those that have flags of their own

_TAKEN = {name.lower() for task in TASKS.values() for name in (task.name, *task.other_names)}

# the course's multitask job, in the order of its turns; the first trains where none is named
COURSE_TASKS = tuple(name for name, task in TASKS.items() if task.in_course_mix)
LARGEST_TASK = QUORA.name  # of the course's: what `--rrobin pre` trains on at first


def named(condition: str) -> tuple[str, ...]:
    """The names of the tasks of which this attribute is true, such as `is_pair`."""
    return tuple(name for name, task in TASKS.items() if getattr(task, condition))


def learn(
    sources: Iterable[str], completed: Callable[[Definition], Definition] = lambda same: same
) -> tuple[Definition, ...]:
    """Know the tasks that these files, or the JSON of their definitions, describe.

    `completed` adds what a definition leaves to the data. A task that was learned before under the
    same name is forgotten. Raises InputError for a file that describes no task, and for a name that
    a built-in task or another of the files has.
    """
    found: dict[str, Definition] = {}
    for source in sources:
        definition = completed(read(source))
        name = definition.name
        if name.lower() in (*_TAKEN, *map(str.lower, found)):
            raise InputError(f"{place_of(source)}: a task {name!r} exists; take another name")
        found[name] = definition
    for name, definition in found.items():
        assert isinstance(TASKS, dict) and isinstance(TITLES, dict)
        TASKS[name] = task = definition.task()
        TITLES[name] = task.title
    return tuple(found.values())


def overall(scores: Mapping[str, float]) -> float:
    """The course's 2024 overall score: the mean of the tasks' points."""
    return float(np.mean([TASKS[name].points(score) for name, score in scores.items()]))

"""Every task that the package knows. A new task is an entry of its own and a name here."""

from collections.abc import Mapping

import numpy as np

from minbert.tasks.course import CFIMDB, QUORA, SST, STS
from minbert.tasks.task import Task

TASKS: Mapping[str, Task] = {task.name: task for task in (SST, QUORA, STS, CFIMDB)}

TITLES: Mapping[str, str] = {name: task.title for name, task in TASKS.items()}  # in reports

# the course's multitask job, in the order of its turns; the first trains where none is named
COURSE_TASKS = tuple(name for name, task in TASKS.items() if task.in_course_mix)
LARGEST_TASK = QUORA.name  # of the course's: what `--rrobin pre` trains on at first


def named(condition: str) -> tuple[str, ...]:
    """The names of the tasks of which this attribute is true, such as `is_pair`."""
    return tuple(name for name, task in TASKS.items() if getattr(task, condition))


def overall(scores: Mapping[str, float]) -> float:
    """The course's 2024 overall score: the mean of the tasks' points."""
    return float(np.mean([TASKS[name].points(score) for name, score in scores.items()]))

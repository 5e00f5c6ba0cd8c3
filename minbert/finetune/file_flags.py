"""The flags of the tasks' files: each task of the registry brings those of its own splits."""

from dataclasses import make_dataclass
from typing import Any

from minbert.finetune.flags import DATA, OUTPUT
from minbert.support.flags import When, flag
from minbert.tasks.predictions import default_file
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Task


def _file_flag(task: Task, split: str) -> Any:
    trains = When(
        lambda c: task.name in c.trained_tasks, f"{task.name} to train (--tasks, --rrobin)"
    )
    scored = When(lambda c: task.name in c.evaluated_tasks, trains.needs)
    default, words = f"data/{task.files[split]}", f"{task.name} {split} file"
    acts = [trains if split == "train" else scored]
    return flag(default, DATA, words, metavar="FILE", acts=acts)


def _out_flag(task: Task, split: str) -> Any:
    default, alone = (default_file(task, split, alone=alone) for alone in (False, True))
    if default != alone:
        default += f", with --tasks {task.name} {alone}"
    needs = f"{task.name} to train (--tasks, --rrobin)"
    return flag(
        None,
        OUTPUT,
        f"{task.name} {split} predictions; default {default}",
        metavar="FILE",
        acts=[When(lambda c: task.name in c.evaluated_tasks, needs)],
    )


InputFileFlags: Any = make_dataclass(
    "InputFileFlags",
    [
        (f"{task.name}_{split}", "str", _file_flag(task, split))
        for task in TASKS.values()
        for split in task.files
    ],
    frozen=True,
)
OutputFileFlags: Any = make_dataclass(
    "OutputFileFlags",
    [
        (f"{task.name}_{split}_out", "str | None", _out_flag(task, split))
        for task in TASKS.values()
        for split in task.scored_splits
    ],
    frozen=True,
)

"""The flags that tasks bring: those of their files, and the scale of a regression."""

from dataclasses import make_dataclass
from typing import Any

from minbert.finetune.flags import DATA, OUTPUT, TRAINING
from minbert.support.flags import POSITIVE, When, flag
from minbert.tasks.predictions import FOLDER, default_file
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Task


def _needed(task: Task, split: str) -> When:
    """The condition that a run reads this split's file: it trains on the task, or scores it."""
    needs = f"{task.name} to train (--tasks, --rrobin)"
    if split != "train":
        needs += ", and no --dev_only" if split != "dev" else ", and no --dev_rows rest"
    return When(lambda c: (task.name, split) in c.file_keys, needs)


def _predicted(task: Task, split: str) -> When:
    """The condition that a run writes this split's predictions."""
    needs = f"{task.name} to train (--tasks, --rrobin), and no --dev_only"
    return When(lambda c: (task.name, split) in c.predicted_keys, needs)


def _file_flag(task: Task, split: str) -> Any:
    default, words = f"data/{task.files[split]}", f"{task.name} {split} file"
    return flag(default, DATA, words, metavar="FILE", acts=[_needed(task, split)])


def _out_flag(task: Task, split: str) -> Any:
    default, alone = (default_file(task, split, alone=alone) for alone in (False, True))
    if default != alone:
        default += f", with --tasks {task.name} {alone}"
    words = f"{task.name} {split} predictions; default in --predictions_dir: {default}"
    return flag(None, OUTPUT, words, metavar="FILE", acts=[_predicted(task, split)])


def _scale_flag(task: Task) -> Any:
    words = (
        f"train {task.name} as if its labels lay in 0..TOP. Its loss and its divergences, which "
        "are squares, shrink or grow beside those of other tasks; predictions stay on the labels' "
        "scale"
    )
    trains = When(lambda c: task.name in c.trained_tasks, f"{task.name} to train")
    return flag(task.top, TRAINING, words, limit=POSITIVE, metavar="TOP", acts=[trains])


ScaleFlags: Any = make_dataclass(
    "ScaleFlags",
    [(f"{t.name}_scale", "float", _scale_flag(t)) for t in TASKS.values() if t.top is not None],
    frozen=True,
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
_UNNAMED = When(
    lambda c: any(c.named_out(task, split) is None for task, split in c.predicted_keys),
    "a prediction file that no flag of its own names",
)
_DIRECTORY = flag(
    FOLDER,
    OUTPUT,
    "folder of the prediction files that have no flag of their own; a quick look (--limit, "
    "--max_steps) that finds an earlier run's files there writes into predictions-quick/ instead, "
    "unless this flag names another folder",
    metavar="FOLDER",
    acts=[_UNNAMED],
)
_GLUE_ZIP = flag(
    None,
    OUTPUT,
    "write the test predictions as GLUE's leaderboard takes them; a zip that is there keeps its "
    "files of other tasks",
    metavar="FILE",
    acts=[When(lambda c: bool(c.glue_tasks), "one of GLUE's tasks in --tasks")],
)
_GLUE_FILL = flag(
    False,
    OUTPUT,
    "let the files of tasks that --glue_zip lacks hold their commonest label",
    acts=[When(lambda c: c.glue_zip is not None, "--glue_zip")],
)
OutputFileFlags: Any = make_dataclass(
    "OutputFileFlags",
    [
        ("predictions_dir", "str", _DIRECTORY),
        ("glue_zip", "str | None", _GLUE_ZIP),
        ("glue_fill", "bool", _GLUE_FILL),
        *(
            (f"{task.name}_{split}_out", "str | None", _out_flag(task, split))
            for task in TASKS.values()
            for split in task.scored_splits
        ),
    ],
    frozen=True,
)

"""The settings of a grading: what is graded against what, and where the results go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbert.data.own_labels import with_labels
from minbert.grade.ceilings import COURSE_CEILINGS
from minbert.support.errors import InputError
from minbert.support.flags import RATE, PerTask, check_values, flag
from minbert.support.places import SAMPLE
from minbert.tasks.own import Definition
from minbert.tasks.registry import BUILT_IN, COURSE_TASKS, TASKS, learn
from minbert.tasks.task_file import read

_INPUT, _OUTPUT = "what is held against what", "output besides the table"
_CEILINGS = [f"{name}={value:g}" for name, value in COURSE_CEILINGS.items()]
_EXAMPLE = ",".join(_CEILINGS[::2]).replace("=0.", "=.")


@dataclass(frozen=True)
class GradeConfig:
    """The settings of a grading. Raises InputError for values that do not fit together."""

    gold: str | None = flag(
        None,
        _INPUT,
        "folder of the course's data files; default: data/ if they are there, else the bundled "
        "synthetic sample; with --task_file: the folder of that task's files; default: where the "
        "file says",
        metavar="FOLDER",
    )
    task_file: tuple[str, ...] = flag(
        (),
        _INPUT,
        "TOML file with a task of your own (docs/own-task.md), which is graded in place of the "
        "course's; give the flag again for another",
        metavar="FILE",
        repeated=True,
    )
    split: str = flag(
        "dev",
        _INPUT,
        "the set whose labels score; test needs test files with labels",
        metavar="SPLIT",
    )
    lint: bool = flag(False, _INPUT, "check only; needs ids but no labels")
    ceiling: PerTask | None = flag(
        None,
        _INPUT,
        "score above which the grader asks whether dev examples were trained on, as in "
        f"{_EXAMPLE}; it changes no mark, and a task that is not named is not asked about; "
        f"default {','.join(_CEILINGS)}, on the bundled sample none",
        limit=RATE,
        metavar="SCORE",
    )
    json: str | None = flag(None, _OUTPUT, "everything, as JSON", metavar="FILE")
    csv: str | None = flag(
        None, _OUTPUT, "a line a submission; with --lint a line a problem", metavar="FILE"
    )
    html: str | None = flag(None, _OUTPUT, "a report in one page", metavar="FILE")

    def __post_init__(self) -> None:
        # the files are read once: a configuration means the same ever after
        own = learn(self.task_file, with_labels)
        object.__setattr__(self, "task_file", tuple(each.as_json() for each in own))
        tasks = [each.name for each in own] or BUILT_IN
        check_values(self)
        splits = dict.fromkeys(split for name in tasks for split in TASKS[name].scored_splits)
        if self.split not in splits:
            raise InputError(f"--split {self.split}: not one of {', '.join(splits)}")
        for name in ("html", "ceiling") if self.lint else ():
            if getattr(self, name) is not None:
                raise InputError(f"--{name} would do nothing here: --lint gives no scores")
        outputs = [Path(path).resolve() for path in self.outputs]
        if len(set(outputs)) < len(outputs):
            raise InputError(f"two outputs would go to {self.outputs[0]}")
        for name in self.ceiling if isinstance(self.ceiling, dict) else ():
            if name not in TASKS:
                known = ", ".join(TASKS)
                raise InputError(f"--ceiling {name}: no such task; there are: {known}")

    @property
    def own_tasks(self) -> Sequence[Definition]:
        """The tasks that the user's files describe."""
        return tuple(map(read, self.task_file))

    @property
    def outputs(self) -> list[str]:
        """The files that will be written."""
        return [path for path in (self.json, self.csv, self.html) if path is not None]

    def ceilings(self, gold: Path) -> Mapping[str, float]:
        """Return the ceiling of each task: as given, else the course's, on the sample none."""
        if self.ceiling is None:
            return {} if gold.resolve() == SAMPLE.resolve() else COURSE_CEILINGS
        if isinstance(self.ceiling, dict):
            return self.ceiling
        return dict.fromkeys(COURSE_TASKS, self.ceiling)

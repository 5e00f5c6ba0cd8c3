"""The command `python -m minbert.grade`: prediction files in, scores with intervals out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbert.grade.ceilings import COURSE_CEILINGS
from minbert.grade.gold import SPLITS, Gold, read_gold
from minbert.grade.graded import Class, grade
from minbert.grade.members import is_archive
from minbert.grade.outputs import as_csv, as_json, lint_csv, lint_json
from minbert.grade.page import as_html
from minbert.grade.problems import in_brief
from minbert.grade.reading import read_all
from minbert.grade.submission import Submission, locate
from minbert.grade.text import as_text, lint_text
from minbert.support import durable_files
from minbert.support.command import run_command, show
from minbert.support.console import log
from minbert.support.errors import InputError, RunError
from minbert.support.flags import RATE, OneLineParser, PerTask, add_flags, check_values, flag
from minbert.support.places import SAMPLE
from minbert.tasks.predictions import is_prediction_file
from minbert.tasks.registry import COURSE_TASKS

_DESCRIPTION = """\
Check and score prediction files: files, a folder or a zip of one submission, or a folder of many.

  python -m minbert.grade predictions/            your own, before you hand in
  python -m minbert.grade --lint predictions/     only the format, test files too
  python -m minbert.grade submissions/ --html marks.html --csv marks.csv

Every defect is named with its file and line. Exit code 0: all is well, 1: some file has a defect
(the rest is graded), 2: wrong usage.
"""
_SHOWN = 12  # lines about one submission's problems
_INPUT, _OUTPUT = "what is held against what", "output besides the table"


@dataclass(frozen=True)
class GradeConfig:
    """What is graded against what, and where the results go."""

    gold: str | None = flag(
        None,
        _INPUT,
        "folder of the course's data files; default: data/ if they are there, else the bundled "
        "synthetic sample",
        metavar="FOLDER",
    )
    split: str = flag(
        "dev",
        _INPUT,
        "the set whose labels score; test needs test files with labels",
        choices=SPLITS,
    )
    lint: bool = flag(False, _INPUT, "check only; needs ids but no labels")
    ceiling: PerTask | None = flag(
        None,
        _INPUT,
        "score above which a question is put, as in sst=.6,sts=.93; a task not named has none; "
        f"default {','.join(f'{name}={value:g}' for name, value in COURSE_CEILINGS.items())}, on "
        "the bundled sample none",
        limit=RATE,
        metavar="SCORE",
    )
    json: str | None = flag(None, _OUTPUT, "everything, as JSON", metavar="FILE")
    csv: str | None = flag(
        None, _OUTPUT, "a line a submission; with --lint a line a problem", metavar="FILE"
    )
    html: str | None = flag(None, _OUTPUT, "a report in one page", metavar="FILE")

    def __post_init__(self) -> None:
        check_values(self)
        if self.lint and self.html is not None:
            raise InputError("--html would do nothing here: --lint gives no scores")
        if self.lint and self.ceiling is not None:
            raise InputError("--ceiling would do nothing here: --lint gives no scores")
        outputs = [Path(path).resolve() for path in self.outputs]
        if len(set(outputs)) < len(outputs):
            raise InputError(f"two outputs would go to {self.outputs[0]}")
        for name in self.ceiling if isinstance(self.ceiling, dict) else ():
            if name not in COURSE_TASKS:
                known = ", ".join(COURSE_TASKS)
                raise InputError(f"--ceiling {name}: no such task; there are: {known}")

    @property
    def outputs(self) -> list[str]:
        """The files that will be written."""
        return [path for path in (self.json, self.csv, self.html) if path is not None]

    def ceilings(self, gold: Path) -> Mapping[str, float]:
        """A task's ceiling; the course's say nothing about the sample."""
        if self.ceiling is None:
            return {} if gold.resolve() == SAMPLE.resolve() else COURSE_CEILINGS
        if isinstance(self.ceiling, dict):
            return self.ceiling
        return dict.fromkeys(COURSE_TASKS, self.ceiling)


def make_parser() -> OneLineParser:
    """One flag a field of GradeConfig, and the paths."""
    parser = OneLineParser(
        prog="python -m minbert.grade", usage="%(prog)s PATH... [flags]", description=_DESCRIPTION
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", type=Path, help="what to grade")
    add_flags(parser, GradeConfig)
    return parser


def run(config: GradeConfig, paths: Sequence[Path]) -> None:
    """Read, score and report. Raises InputError, or RunError where a submission has problems."""
    sources = locate(paths)
    folder = None if config.gold is None else Path(config.gold)
    gold = read_gold(folder, config.split, lint=config.lint)
    _check_outputs(config, gold)
    submissions = read_all(sources, gold)
    _name_problems(submissions)
    if config.lint:
        _name_absent(submissions, gold)
        _write(config, lint_json(submissions), lint_csv(submissions), None)
        show(lint_text(submissions))
    else:
        ceilings = config.ceilings(gold.folder)
        graded = grade(submissions, gold, ceilings)
        _name_incomplete(graded)
        page = as_html(graded, gold, ceilings) if config.html else None
        _write(config, as_json(graded), as_csv(graded), page)
        show(as_text(graded))
    defective = [one for one in submissions if one.problems]
    if defective:
        count = f"{len(defective)} of {len(submissions)}"
        raise RunError(f"{count} submission{'s' * (len(submissions) > 1)} with problems, see above")


def _check_outputs(config: GradeConfig, gold: Gold) -> None:
    """Fail now, not after minutes, where a file cannot be written; and write over nobody's work."""
    for path in map(Path, config.outputs):
        try:
            _check_output(path, gold)
            durable_files.check_writable(path.resolve())
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def _check_output(path: Path, gold: Gold) -> None:
    """Write over no prediction file, no archive and nothing of the gold's folder."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder, not a file to write")
    if not path.exists():
        return
    if not path.is_file():
        raise InputError(f"{path}: is no regular file, and would be replaced by one")
    if path.resolve().parent == gold.folder.resolve():
        raise InputError(f"{path}: would be overwritten, and lies among the gold files")
    if path.stat().st_size and (is_archive(path) or is_prediction_file(path)):
        raise InputError(f"{path}: would be overwritten, and is somebody's predictions")


def _name_problems(submissions: Sequence[Submission]) -> None:
    unchecked = [f"{one.name}/{name}" for one in submissions for name in one.unchecked]
    if unchecked:
        more = f" and {len(unchecked) - 1} more" if len(unchecked) > 1 else ""
        log.info("not checked, for the gold has no such ids: %s%s", unchecked[0], more)
    for one in submissions:
        lines = list(in_brief(one.problems, one.name))
        for line in lines[:_SHOWN]:
            log.warning("%s", line)
        if len(lines) > _SHOWN:
            log.warning("%s: and %d more (--json has them all)", one.name, len(lines) - _SHOWN)


def _name_absent(submissions: Sequence[Submission], gold: Gold) -> None:
    for one in submissions:
        there = set(one.checked.values())
        absent = [str(part) for part in gold.ids if part.task in COURSE_TASKS]
        absent = [part for part in absent if part not in there]
        if absent and there:
            log.info("%s: no file of %s, if they are asked for", one.name, ", ".join(absent))


def _name_incomplete(graded: Class) -> None:
    for one in graded.graded:
        lacking = [name for name in COURSE_TASKS if name not in one.scores]
        if lacking and one.scores:
            log.info("%s: no overall score, for it has no %s", one.name, " and no ".join(lacking))


def _write(config: GradeConfig, json: object, csv: str, html: str | None) -> None:
    texts = {config.json: durable_files.json_text(json), config.csv: csv, config.html: html}
    named = {path: text for path, text in texts.items() if path is not None and text is not None}
    durable_files.write_texts({Path(path).resolve(): text for path, text in named.items()})


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    given = sys.argv[1:] if argv is None else argv

    def work() -> None:
        arguments = vars(make_parser().parse_args(given))
        paths = arguments.pop("paths")
        run(GradeConfig(**arguments), paths)

    return run_command(lambda _stop: work(), if_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())

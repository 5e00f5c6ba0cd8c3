"""The command `python -m minbert.grade`: prediction files in, scores with intervals out."""

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from minbert.grade.config import GradeConfig
from minbert.grade.gold import Gold, read_gold
from minbert.grade.graded import Class, grade
from minbert.grade.members import is_archive
from minbert.grade.outputs import as_csv, as_json, lint_csv, lint_json
from minbert.grade.page import as_html
from minbert.grade.problems import in_brief, some
from minbert.grade.reading import read_all
from minbert.grade.submission import Submission, has_predictions, locate
from minbert.grade.text import as_text, lint_text
from minbert.support import durable_files
from minbert.support.command import run_command, show
from minbert.support.console import log
from minbert.support.errors import InputError, RunError
from minbert.support.flags import OneLineParser, parser_for
from minbert.support.outputs import refusing_unwritable
from minbert.support.signals import StopRequest
from minbert.tasks.metrics import DEGENERATE, is_degenerate
from minbert.tasks.registry import TASKS

_DESCRIPTION = """\
Check and score prediction files: files, a folder or a zip of one submission, or a folder of many.

  python -m minbert.grade predictions/            your own, before you hand in
  python -m minbert.grade --lint predictions/     only the format, test files too
  python -m minbert.grade submissions/ --html marks.html --csv marks.csv

Every defect is named with its file and line. Exit code 0: all is well, 1: some file has a defect
(the rest is graded), 2: wrong usage.
"""
_SHOWN = 12  # lines about one submission's problems


def make_parser() -> OneLineParser:
    """Return the parser: one flag for each field of GradeConfig, and the paths."""
    parser = parser_for(
        GradeConfig,
        prog="python -m minbert.grade",
        usage="%(prog)s PATH... [flags]",
        description=_DESCRIPTION,
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", type=Path, help="what to grade")
    return parser


def run(config: GradeConfig, paths: Sequence[Path]) -> None:
    """Read, score and report. Raises InputError, or RunError where a submission has problems."""
    sources = locate(paths)
    folder = None if config.gold is None else Path(config.gold)
    gold = read_gold(folder, config.split, lint=config.lint, own=config.own_tasks)
    _check_outputs(config, gold)
    submissions = read_all(sources, gold)
    _name_problems(submissions)
    report = _lint if config.lint else _grade
    report(config, submissions, gold)
    count = sum(bool(submission.problems) for submission in submissions)
    if count:
        plural = "s" * (len(submissions) > 1)
        raise RunError(f"{count} of {len(submissions)} submission{plural} with problems, see above")


def _lint(config: GradeConfig, submissions: Sequence[Submission], gold: Gold) -> None:
    _name_absent(submissions, gold)
    _write(config, lint_json(submissions), lint_csv(submissions), None)
    show(lint_text(submissions))


def _grade(config: GradeConfig, submissions: Sequence[Submission], gold: Gold) -> None:
    ceilings = config.ceilings(gold.folder)
    graded = grade(submissions, gold, ceilings)
    _name_incomplete(graded)
    _name_degenerate(graded, gold)
    page = as_html(graded, gold, ceilings) if config.html else None
    _write(config, as_json(graded), as_csv(graded), page)
    show(as_text(graded))


def _check_outputs(config: GradeConfig, gold: Gold) -> None:
    """Fail now, not after minutes, where a file cannot be written; and write over nobody's work."""
    for path in map(Path, config.outputs):
        with refusing_unwritable(str(path)):
            _check_output(path, gold)
            durable_files.check_writable(path.resolve())


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
    if path.stat().st_size and (is_archive(path) or has_predictions(path)):
        raise InputError(f"{path}: would be overwritten, and is somebody's predictions")


def _write(config: GradeConfig, json: object, csv: str, html: str | None) -> None:
    texts = {config.json: durable_files.json_text(json), config.csv: csv, config.html: html}
    named = {path: text for path, text in texts.items() if path is not None and text is not None}
    durable_files.write_texts({Path(path).resolve(): text for path, text in named.items()})


def _name_problems(submissions: Sequence[Submission]) -> None:
    unchecked = defaultdict(list)
    for submission in submissions:
        for file, why in submission.unchecked.items():
            unchecked[why].append(f"{submission.name}/{file}")
    for why, files in unchecked.items():
        log.info("not checked, %s: %s", why, some(files))
    for submission in submissions:
        for note in in_brief(submission.notes, submission.name):
            log.info("%s", note)
    for submission in submissions:
        name, lines = submission.name, list(in_brief(submission.problems, submission.name))
        for line in lines[:_SHOWN]:
            log.warning("%s", line)
        if len(lines) > _SHOWN:
            log.warning("%s: and %d more (--json has them all)", name, len(lines) - _SHOWN)


def _name_absent(submissions: Sequence[Submission], gold: Gold) -> None:
    asked_for = [str(part) for part in gold.ids if part.task in gold.asked]
    for submission in submissions:
        there = set(submission.checked.values())
        absent = [part for part in asked_for if part not in there]
        if absent and there:
            files = ", ".join(absent)
            log.info("%s: no file of %s, if they are asked for", submission.name, files)


def _name_incomplete(graded: Class) -> None:
    for result in graded.graded:
        lacking = [name for name in graded.asked if name not in result.scores]
        if lacking and result.scores:
            what = "no overall score, for it has no" if graded.has_overall else "has no"
            log.info("%s: %s %s", result.name, what, " and no ".join(lacking))


def _name_degenerate(graded: Class, gold: Gold) -> None:
    for result in graded.graded:
        found = result.predictions.items()
        if is_degenerate((TASKS[n].metrics[0], guesses, gold.labels[n]) for n, guesses in found):
            log.warning("%s: %s", result.name, DEGENERATE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""

    def work(_stop: StopRequest) -> None:
        given = vars(make_parser().parse_args(argv))
        paths = given.pop("paths")
        run(GradeConfig(**given), paths)

    return run_command(work, if_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())

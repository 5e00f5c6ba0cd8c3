"""`python -m minbert.classroom mark FOLDER`: the marks of submissions, on this machine."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path

from minbert.classroom.marking.config import MarkConfig
from minbert.classroom.marking.desk import Marked, opened
from minbert.classroom.marking.submission import files_with_holes
from minbert.classroom.recording import recorded
from minbert.grade.submission import Source, locate
from minbert.grade.text import aligned, number
from minbert.reports.tables import csv_text
from minbert.support import durable_files
from minbert.support.command import run_command, show
from minbert.support.console import ProgressBar
from minbert.support.flags import OneLineParser, parser_for
from minbert.support.outputs import check_new_folder
from minbert.tasks.registry import COURSE_TASKS

_DESCRIPTION = """\
Mark one submission (a folder or a zip of the filled starter, or of its modules), or a folder of
many. Each step runs in a process of its own, on inputs that students have not seen.

  python -m minbert.classroom mark submissions/
  python -m minbert.classroom mark submissions/ --holes attention --output marks-1

The results go to a new folder: NAME.json, in Gradescope's form, for each submission, and marks.csv.
"""
_TABLE = "marks.csv"
_LONGEST_NAME = 100  # bytes; systems have 255 for it and for what is written beside it


def make_parser() -> OneLineParser:
    """Return the parser: one flag for each field of MarkConfig, and the folder."""
    parser = parser_for(
        MarkConfig,
        prog="python -m minbert.classroom mark",
        usage="%(prog)s FOLDER [flags]",
        description=_DESCRIPTION,
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="what is marked")
    return parser


def mark(config: MarkConfig, folder: Path) -> None:
    """Mark what lies in the folder, and write the results. Raises InputError."""
    sources, output = submissions_in(folder, config), Path(config.output)
    gold = config.answers()
    check_new_folder(output)
    seed = config.drawn_seed()
    key = {step.name: recorded(step, seed) for step in config.steps}
    places = min(config.processes, len(sources))
    files = dict(zip((source.name for source in sources), _files(sources), strict=True))
    durable_files.make_folder(output)
    marked: list[Marked] = []
    try:
        with (
            opened(key, gold, config.steps, config.limits, places) as desk,
            ProgressBar(len(sources), "marking", "submissions") as bar,
        ):
            for each in desk.mark_all(sources):
                durable_files.write_json(output / files[each.name], each.results("visible"))
                marked.append(each)
                bar.update(1)
    finally:  # where it is stopped, the table has those that are marked
        marked.sort(key=lambda each: each.name)
        if marked:
            durable_files.write_text(output / _TABLE, as_csv(marked))
    show(as_text(marked))
    show(f"{output}/: {_TABLE}, and the results of each submission with what is wrong")


def submissions_in(folder: Path, config: MarkConfig) -> list[Source]:
    """The submissions: a folder with the starter's modules is one, else each folder and zip in it.

    Raises InputError where there is nothing.
    """
    names = {path.name for path in files_with_holes(config.steps)}
    if folder.is_dir():
        inside = {entry.name for entry in os.scandir(folder)}
        if "minbert" in inside or inside & names:
            return [Source(folder.resolve().name, folder.resolve())]
    return locate([folder])


def _files(sources: Iterable[Source]) -> Iterator[str]:
    """The names of the submissions' results, which stay within the folder and differ."""
    taken = set()
    for source in sources:
        plain = "".join(c if c.isalnum() or c in " ._-()" else "_" for c in source.name)
        plain = plain.encode()[:_LONGEST_NAME].decode(errors="ignore").lstrip(".") or "_"
        names = (f"{plain}-{number}" if number > 1 else plain for number in count(1))
        name = next(name for name in names if name.lower() not in taken)
        taken.add(name.lower())
        yield f"{name}.json"


def as_csv(marked: Iterable[Marked]) -> str:
    """A line a submission: the points of each step, their sum, the dev scores."""
    rows = list(marked)
    steps = [mark.step for mark in rows[0].steps]
    scores = [*(f"{name} dev" for name in COURSE_TASKS), "overall"]
    header = ["name", "points", "of", *(f"step {s.number} {s.name}" for s in steps), *scores]
    total = sum(step.points for step in steps)
    return csv_text(
        [
            header,
            *(
                [row.name, row.points, total]
                + [mark.points for mark in row.steps]
                + [row.predictions.scores.get(name) for name in scores]
                for row in rows
            ),
        ]
    )


def as_text(marked: Sequence[Marked]) -> str:
    """The same for a terminal."""
    steps = [mark.step for mark in marked[0].steps]
    total = sum(step.points for step in steps)
    head = ["submission", f"points of {total}", *(step.name for step in steps), "overall"]
    rows = [
        [
            row.name,
            *(f"{points:g}" for points in (row.points, *(mark.points for mark in row.steps))),
            number(row.predictions.scores.get("overall")),
        ]
        for row in marked
    ]
    return aligned([head, *rows])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""

    def work(_stop: object) -> None:
        given = vars(make_parser().parse_args(argv))
        folder = given.pop("folder")
        mark(MarkConfig(**given), folder)

    return run_command(work, if_stopped="the results so far stay")

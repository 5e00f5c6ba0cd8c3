"""Find submissions in files, folders and zips, and read the prediction files of each."""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from minbert.grade.dialect import header_of
from minbert.grade.glance import Glance, first_lines, glance
from minbert.grade.gold import Gold
from minbert.grade.members import (
    ARCHIVES,
    Member,
    Unreadable,
    in_archive,
    in_folder,
    is_archive,
    is_hidden,
    on_disk,
    open_regular,
)
from minbert.grade.problems import Problem, Problems, readable, some
from minbert.grade.recognise import claimed, remoteness
from minbert.grade.sheet import FileReport, Sheet, read_found
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.tasks.predictions import FOLDER, default_file
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Array

OPTIONS = (None, "finetune", "pretrain")  # None: multitask, which wins
_SHEETS = 32  # a submission's prediction files; the course asks for fourteen at most


@dataclass(frozen=True)
class Source:
    """The place of a submission: a folder, a zip, or some files of one folder."""

    name: str
    path: Path
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Submission:
    """A submission as read: what its files are, its predictions, and its problems.

    The predictions of the scored split stand by option and task, each (rows of the gold,), NaN
    where there is none.
    """

    name: str
    checked: Mapping[str, str]  # file -> the part it is about
    unchecked: Mapping[str, str]  # prediction file -> why it is not about a part of the gold
    predictions: Mapping[tuple[str | None, str], Array]
    problems: Sequence[Problem]
    notes: Sequence[Problem] = ()  # that are no problems, but how files were understood


# ------------------------------------------------------------------------------------ finding them


def locate(paths: Sequence[Path]) -> list[Source]:
    """Return the submissions that the command line names, in its order.

    A folder with prediction files in it, or in its `predictions/`, is one submission. Any other
    folder is a class: each folder and archive in it is one. Files of one folder are together one
    submission under the folder's name. A path that was typed may be a link; links below are not
    followed. Raises InputError for a path that is not there.
    """
    sources: list[Source] = []
    loose: dict[Path, list[Path]] = {}
    for path in {path.resolve(): path for path in paths}.values():
        kind = _kind(path)
        if stat.S_ISDIR(kind):
            sources += _in_folder(path)
        elif not stat.S_ISREG(kind):
            raise InputError(f"{path}: neither a file nor a folder")
        elif is_archive(path):
            sources.append(Source(path.stem, path.resolve()))
        else:
            loose.setdefault(path.absolute().parent, []).append(path)
    sources += [Source(_name(folder), folder, tuple(files)) for folder, files in loose.items()]
    return _distinct(sources)


def _kind(path: Path) -> int:
    """Return the mode of what a path leads to. Raises InputError."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise InputError(f"{readable(str(path))}: cannot be read ({error.strerror})") from error


def _name(folder: Path) -> str:
    return Path(os.path.normpath(folder.absolute())).name or str(folder)


def _distinct(sources: Sequence[Source]) -> list[Source]:
    """Name sources of one name by their paths, and number those that are still alike."""
    count = Counter(readable(source.name) for source in sources)
    by_name: dict[str, Source] = {}
    for source in sources:
        name = readable(source.name)
        name = name if count[name] == 1 else readable(str(source.path))
        if name in by_name:
            numbers = range(2, len(sources) + 1)
            name = next(new for n in numbers if (new := f"{name} ({n})") not in by_name)
        by_name[name] = replace(source, name=name)
    return list(by_name.values())


def _in_folder(folder: Path) -> list[Source]:
    entries = _entries(folder)
    inside = [
        file
        for entry in entries
        if entry.is_dir(follow_symlinks=False) and entry.name.lower() == FOLDER
        for file in _entries(Path(entry.path))
    ]
    files = (Path(e.path) for e in (*entries, *inside) if not e.is_dir(follow_symlinks=False))
    loose = next(filter(_looks_like_predictions, files), None)
    if loose is None and any(map(_is_submission, entries)):
        return _in_class(folder, entries)
    archives = [entry.name for entry in entries if entry.name.lower().endswith(ARCHIVES)]
    if loose is not None and archives:
        say = "%s: one submission, for %s lies in it; what is not opened there: %s"
        log.warning(say, folder, loose.relative_to(folder), some(archives))
    return [Source(_name(folder), folder.resolve())]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return a folder's entries but for hidden ones, sorted. Raises InputError."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not is_hidden(e.name)), key=lambda e: e.name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror})") from error


def _looks_like_predictions(path: Path) -> bool:
    if path.name.lower().endswith(ARCHIVES):
        return False
    return claimed(path.name) is not None or has_predictions(path)


def has_predictions(path: Path) -> bool:
    """Return whether a file on disk begins with the header of a prediction file."""
    try:
        with open_regular(path) as stream:
            lines = first_lines(stream.read(1024))
    except OSError:
        return False
    return bool(lines) and header_of(lines[0]) is not None


def _is_submission(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry of a class is somebody's work: a folder, an archive or a link."""
    return entry.is_dir() or entry.is_symlink() or entry.name.lower().endswith(ARCHIVES)


def _in_class(folder: Path, entries: Sequence[os.DirEntry[str]]) -> list[Source]:
    others = [entry.name for entry in entries if not _is_submission(entry)]
    if others:
        log.info("%s: not read, for neither folder nor archive: %s", folder, some(others))
    handed_in = filter(_is_submission, entries)
    return [Source(_name_in_class(entry), Path(entry.path)) for entry in handed_in]


def _name_in_class(entry: os.DirEntry[str]) -> str:
    path = Path(entry.path)
    zipped = path.suffix.lower() == ARCHIVES[0] and not entry.is_dir(follow_symlinks=False)
    return path.stem if zipped else path.name


# ------------------------------------------------------------------------------------ reading them


def read(source: Source, gold: Gold) -> Submission:
    """Read the prediction files of a submission. Never raises over what is in it."""
    try:
        reports, problems = _reports(source, gold)
    except Unreadable as error:
        reports, problems = [], [Problem("", None, str(error), "file")]
    sheets = [report.sheet for report in reports if report.sheet is not None]
    chosen, doubles = _choose(sheets)
    of_files = [problem for report in reports for problem in report.problems]
    return Submission(
        source.name,
        {sheet.file: str(sheet.part) for sheet in sheets},
        {report.file: report.why for report in reports if report.why},
        {
            (sheet.option, sheet.part.task): sheet.values
            for sheet in chosen
            if sheet.part.split == gold.split and sheet.part.task in gold.labels
        },
        [*problems, *of_files, *doubles],
        [Problem(each.file, None, note, "note") for each in reports for note in each.notes],
    )


def _reports(source: Source, gold: Gold) -> tuple[list[FileReport], list[Problem]]:
    """Read the prediction files, those that count first.

    Return also the problems of the submission as a whole.
    """
    problems, reports = Problems(""), list[FileReport]()
    with members_of(source, problems) as members:
        glances = (glance(each, gold, expected=bool(source.files)) for each in members)
        found = _in_order([each for each in glances if each is not None], source.path.stem)
        reports = [read_found(each, gold) for each in found[:_SHEETS]]
    if not reports:
        problems.add("none", _none(members, gold))
    if left := [each.name for each in found[_SHEETS:]]:
        say = f"more than {_SHEETS} prediction files, so these are not read: {some(left)}"
        problems.add("many", f"{say}; hand in each one once, and unpack a zip of a whole class")
    return reports, problems.listed()


def _in_order(found: Sequence[Glance], folder: str) -> list[Glance]:
    """Order files by which of one kind counts: first the chosen one of each kind, then the others.

    A misnamed one comes last; otherwise the handout's place and name decide. `folder` is the
    submission's own name, which may be that place.
    """

    def key(each: Glance) -> tuple[object, ...]:
        is_misnamed = each.role is not None and each.role.part != each.part
        return (each.part is None, is_misnamed, *remoteness(f"{folder}/{each.member.name}"))

    ordered = sorted(found, key=key)
    kinds = [(each.part, each.role and each.role.option) for each in ordered]
    is_chosen = [kind not in kinds[:place] for place, kind in enumerate(kinds)]
    return [
        *(each for each, chosen in zip(ordered, is_chosen, strict=True) if chosen),
        *(each for each, chosen in zip(ordered, is_chosen, strict=True) if not chosen),
    ]


@contextmanager
def members_of(source: Source, problems: Problems) -> Iterator[list[Member]]:
    """Give the files of a submission while it is open. Raises Unreadable."""
    path = source.path
    if source.files:
        yield [on_disk(file.resolve(), file.name) for file in source.files]
    elif path.is_symlink():
        raise Unreadable("a link and not followed: put the files themselves there")
    elif path.is_dir():
        yield in_folder(path, problems)
    elif path.name.lower().endswith(ARCHIVES[1:]):
        raise Unreadable("an archive that is not opened: unpack it, or hand in a zip")
    else:
        with in_archive(path, problems) as members:
            yield members


def _none(members: Sequence[Member], gold: Gold) -> str:
    if any(member.name.lower().endswith(ARCHIVES) for member in members):
        return "no prediction file, but an archive inside, which is not opened: unpack it"
    example = f"{FOLDER}/{default_file(TASKS[gold.asked[0]], 'dev', alone=False)}"
    example = example.replace("{option}", str(OPTIONS[1]))
    return f"no prediction file: expected such as {example}"


def _choose(sheets: Sequence[Sheet]) -> tuple[list[Sheet], list[Problem]]:
    """Choose the first sheet of each part and option. One that says otherwise is a problem."""
    chosen: dict[tuple[object, str | None], Sheet] = {}
    doubles = []
    for sheet in sheets:
        first = chosen.setdefault((sheet.part, sheet.option), sheet)
        if first is not sheet and not np.array_equal(first.values, sheet.values, equal_nan=True):
            say = f"{sheet.part} again, with other predictions than {first.file}, which is graded"
            doubles.append(Problem(sheet.file, None, f"{say}: remove one of them", "double"))
    return list(chosen.values()), doubles

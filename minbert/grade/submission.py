"""Finding submissions in files, folders and zips, and reading each: a sheet a role."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

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
from minbert.grade.problems import Problem, Problems, readable
from minbert.grade.recognise import claimed, first_lines, header_column
from minbert.grade.sheet import Reading, Sheet, read_sheet
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.tasks.task import Array

OPTIONS = (None, "finetune", "pretrain")  # None: multitask, which wins
_SHEETS = 32  # a submission's prediction files; the course asks for fourteen at most


@dataclass(frozen=True)
class Source:
    """Where a submission lies: a folder, a zip, or some files of one folder."""

    name: str
    path: Path
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Submission:
    """A submission as read: predictions of the scored split by (option, task), and problems.

    Predictions are (rows of the gold,), NaN where there is none. `checked` says of each file that
    was recognised what it is; `unchecked` are those that the gold has no ids for.
    """

    name: str
    checked: Mapping[str, str]
    unchecked: Sequence[str]
    predictions: Mapping[tuple[str | None, str], Array]
    problems: Sequence[Problem]


# ------------------------------------------------------------------------------------ finding them


def locate(paths: Sequence[Path]) -> list[Source]:
    """The submissions that the command line names, in its order.

    A folder with prediction files in it, or in its `predictions/`, is one; any other folder is a
    class of them: each folder and archive in it. Files of one folder are one submission under its
    name. A path that was typed may be a link; links below are not followed. Raises InputError for
    a path that is not there.
    """
    found: list[Source] = []
    loose: dict[Path, list[Path]] = {}
    for path in {path.resolve(): path for path in paths}.values():
        if path.is_dir():
            found += _in_folder(path)
        elif not path.exists():
            raise InputError(f"{path}: no such file or folder")
        elif not path.is_file():
            raise InputError(f"{path}: neither a file nor a folder")
        elif is_archive(path):
            found.append(Source(path.stem, path.resolve()))
        else:
            loose.setdefault(path.absolute().parent, []).append(path)
    found += [Source(_name(folder), folder, tuple(files)) for folder, files in loose.items()]
    return _distinct(found)


def _name(folder: Path) -> str:
    return Path(os.path.normpath(folder.absolute())).name or str(folder)


def _distinct(sources: Sequence[Source]) -> list[Source]:
    """The sources, named by their path where two have the same name, and numbered at the worst."""
    count = Counter(readable(source.name) for source in sources)
    found: dict[str, Source] = {}
    for one in sources:
        name = readable(one.name)
        name = name if count[name] == 1 else readable(str(one.path))
        if name in found:
            numbers = range(2, len(sources) + 1)
            name = next(new for n in numbers if (new := f"{name} ({n})") not in found)
        found[name] = replace(one, name=name)
    return list(found.values())


def _in_folder(folder: Path) -> list[Source]:
    entries = _entries(folder)
    inside = [
        one
        for entry in entries
        if entry.is_dir(follow_symlinks=False) and entry.name.lower() == "predictions"
        for one in _entries(Path(entry.path))
    ]
    files = (one for one in (*entries, *inside) if not one.is_dir(follow_symlinks=False))
    loose = next((one for one in files if _looks_like_predictions(Path(one.path))), None)
    if loose is None and any(map(_is_submission, entries)):
        return _in_class(folder, entries)
    archives = [one.name for one in entries if one.name.lower().endswith(ARCHIVES)]
    if loose is not None and archives:
        say = "%s: one submission, for %s lies in it; what is not opened there: %s"
        log.warning(say, folder, Path(loose.path).relative_to(folder), _some(archives))
    return [Source(_name(folder), folder.resolve())]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """A folder's entries but for hidden ones, sorted. Raises InputError."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not is_hidden(e.name)), key=lambda e: e.name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror})") from error


def _looks_like_predictions(path: Path) -> bool:
    if path.name.lower().endswith(ARCHIVES):
        return False
    if claimed(path.name):
        return True
    try:
        with open_regular(path) as stream:
            lines = first_lines(stream.read(1024))
    except OSError:
        return False
    return bool(lines) and header_column(lines[0]) is not None


def _is_submission(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a class is somebody's work: a folder, an archive, a link to whatever."""
    return entry.is_dir() or entry.is_symlink() or entry.name.lower().endswith(ARCHIVES)


def _in_class(folder: Path, entries: Sequence[os.DirEntry[str]]) -> list[Source]:
    others = [entry.name for entry in entries if not _is_submission(entry)]
    if others:
        log.info("%s: not read, for neither folder nor archive: %s", folder, _some(others))
    handed_in = filter(_is_submission, entries)
    return [Source(_name_in_class(entry), Path(entry.path)) for entry in handed_in]


def _name_in_class(entry: os.DirEntry[str]) -> str:
    path = Path(entry.path)
    zipped = path.suffix.lower() == ARCHIVES[0] and not entry.is_dir(follow_symlinks=False)
    return path.stem if zipped else path.name


# ------------------------------------------------------------------------------------ reading them


def read(source: Source, gold: Gold) -> Submission:
    """Read all of a submission that is predictions. Never raises over what is in it."""
    problems, readings = Problems(""), list[Reading]()
    try:
        with _members(source, problems) as members:
            for member in members:
                reading = read_sheet(member, gold, expected=bool(source.files))
                readings += [reading] if reading else []
                if len(readings) > _SHEETS:
                    raise Unreadable(_too_many_sheets())
        if not readings:
            problems.add("none", _none(members))
    except Unreadable as error:
        problems, readings = Problems(""), []
        problems.add("file", str(error))
    sheets = [reading.sheet for reading in readings if reading.sheet is not None]
    found = [problem for reading in readings for problem in reading.problems]
    chosen, doubles = _choose(sheets)
    predictions = {
        (sheet.option, sheet.part.task): sheet.values
        for sheet in chosen
        if sheet.part.split == gold.split and sheet.part.task in gold.labels
    }
    checked = {sheet.file: str(sheet.part) for sheet in sheets}
    unchecked = [one.file for one in readings if one.sheet is None and not one.problems]
    problems_found = [*problems.listed(), *found, *doubles]
    return Submission(source.name, checked, unchecked, predictions, problems_found)


@contextmanager
def _members(source: Source, problems: Problems) -> Iterator[list[Member]]:
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


def _too_many_sheets() -> str:
    say = f"more than {_SHEETS} prediction files: give each one once"
    return f"{say}; a class is a folder of folders and zips, so unpack a zip of it"


def _none(members: Sequence[Member]) -> str:
    if any(member.name.lower().endswith(ARCHIVES) for member in members):
        return "no prediction file, but an archive inside, which is not opened: unpack it"
    return "no prediction file: expected such as predictions/sst-dev-output.csv"


def _choose(sheets: Sequence[Sheet]) -> tuple[list[Sheet], list[Problem]]:
    """One sheet for each part and option; a problem for another one that says otherwise."""
    order = sorted(sheets, key=lambda s: (not s.well_named, s.file.count("/"), s.file))
    chosen: dict[tuple[object, str | None], Sheet] = {}
    doubles = []
    for sheet in order:
        first = chosen.setdefault((sheet.part, sheet.option), sheet)
        if first is not sheet and not np.array_equal(first.values, sheet.values, equal_nan=True):
            say = f"{sheet.part} again, with other predictions than {first.file}, which is graded"
            doubles.append(Problem(sheet.file, None, f"{say}: remove one of them", "double"))
    return list(chosen.values()), doubles

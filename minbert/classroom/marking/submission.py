"""Which files of a submission count: those with holes, and modules that the student has added.

They may lie in a folder or a zip, in the starter's folders or loose. All other modules are taken
from the starter.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from minbert.classroom.source import PACKAGE, module_of, path_of
from minbert.classroom.steps import Step
from minbert.grade.members import Member, Unreadable
from minbert.grade.problems import Problems, readable
from minbert.grade.submission import Source, members_of

_LARGEST = 2**20  # bytes of a module
_MOST_ADDED = 50  # modules
_LONGEST = 200  # bytes of an added module's path


@dataclass(frozen=True)
class HandedIn:
    """The student's modules by their place in the starter, and what is to be said about them."""

    with_holes: Mapping[Path, bytes]
    added: Mapping[Path, bytes] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def of(self, step: Step) -> dict[Path, bytes]:
        """The modules that a step is written in, and those added."""
        own = files_with_holes([step])
        return {**self.added, **{p: text for p, text in self.with_holes.items() if p in own}}

    @property
    def whole(self) -> dict[Path, bytes]:
        """All of them."""
        return {**self.added, **self.with_holes}


def files_with_holes(steps: Iterable[Step]) -> dict[Path, list[str]]:
    """The files that steps are written in, relative to the starter, with the functions' names."""
    found: dict[Path, list[str]] = {}
    for step in steps:
        for module, name in map(module_of, step.functions):
            path = path_of(module).relative_to(PACKAGE.parent)
            found.setdefault(path, []).append(name.rpartition(".")[2])
    return found


def handed_in(source: Source, steps: Iterable[Step]) -> HandedIn:
    """Read the modules of a submission. Never raises over what is in it."""
    try:
        with members_of(source, Problems("")) as members:
            return _read(members, files_with_holes(steps))
    except Unreadable as error:
        return HandedIn({}, notes=[str(error)])


def _read(members: Sequence[Member], wanted: Mapping[Path, Sequence[str]]) -> HandedIn:
    notes: list[str] = []
    python = [member for member in members if member.name.endswith(".py")]
    ordered = sorted(python, key=lambda member: (member.name.count("/"), member.name))
    with_holes: dict[Path, bytes] = {}
    top = None
    for path, functions in wanted.items():
        placed = next((m for m in ordered if f"/{m.name}".endswith(f"/{path.as_posix()}")), None)
        found = placed or _loose(ordered, path, functions)
        if placed is not None and top is None:
            top = placed.name.removesuffix(path.as_posix())
        if found is None:
            notes.append(f"{path.as_posix()}: not in the submission")
        elif (content := _content(found, notes)) is not None:
            with_holes[path] = content
    return HandedIn(with_holes, {} if top is None else _added(ordered, top, notes), notes)


def _loose(members: Iterable[Member], path: Path, functions: Sequence[str]) -> Member | None:
    """A file of that name, wherever it lies, that defines one of the functions."""
    pattern = re.compile(rf"^\s*def ({'|'.join(functions)})\b".encode(), re.MULTILINE)
    same = (member for member in members if member.name.rpartition("/")[2] == path.name)
    return next((m for m in same if pattern.search(_content(m, []) or b"")), None)


def _added(members: Iterable[Member], top: str, notes: list[str]) -> dict[Path, bytes]:
    """Modules below the student's `minbert/` that the package does not have."""
    inside = [m for m in members if m.name.startswith(f"{top}{PACKAGE.name}/")]
    places = {Path(member.name.removeprefix(top)): member for member in inside}
    modules = {path: member for path, member in places.items() if _is_module(path)}
    new = {path: m for path, m in modules.items() if not (PACKAGE.parent / path).exists()}
    if len(new) > _MOST_ADDED:
        notes.append(f"{len(new)} added modules: only the first {_MOST_ADDED} are taken")
    read = {path: _content(new[path], notes) for path in list(new)[:_MOST_ADDED]}
    return {path: content for path, content in read.items() if content is not None}


def _is_module(path: Path) -> bool:
    """Whether it can be imported, and so written: no folder of it has a file's name."""
    is_named = all(part.isidentifier() for part in path.with_suffix("").parts)
    return is_named and len(os.fsencode(path)) <= _LONGEST


def _content(member: Member, notes: list[str]) -> bytes | None:
    content = b""
    try:
        with closing(member.blocks()) as blocks:
            for block in blocks:
                content += block
                if len(content) > _LARGEST:
                    break
    except Unreadable as error:
        notes.append(f"{readable(member.name)}: {error}")
        return None
    if len(content) > _LARGEST:
        notes.append(f"{readable(member.name)}: larger than {_LARGEST >> 20} MB, so it is not read")
        return None
    return content

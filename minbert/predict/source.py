"""The file that is asked about, by the name that the user gave it, on disk or through a pipe."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from minbert.data.examples import Split
from minbert.data.layouts import MissingColumn, some
from minbert.data.reading import columns_of, lines_of, numbered, read_split
from minbert.support.errors import InputError
from minbert.tasks.task import Task

_STDIN = "-"


@dataclass(frozen=True)
class Source:
    """A file: `name` is what messages call it, `path` is where its bytes lie."""

    name: Path
    path: Path

    def columns(self, task: Task) -> list[str]:
        """The names in the header. Raises InputError where the task's texts have no column."""
        return columns_of(task, self.name, lines_of(self.path))

    def rows(self, task: Task) -> Split:
        """Every row, whatever is wrong with it. Raises InputError as `columns`."""
        lines = lines_of(self.path)
        return read_split(task, "test", self.name, shown=None, every_row=True, lines=lines)


@contextlib.contextmanager
def opened(name: str) -> Iterator[Source]:
    """A file by its name. What can be read once, stdin or a pipe, becomes a file for a while."""
    path = Path(name)
    with contextlib.ExitStack() as stack:
        if name == _STDIN:
            yield _copied(stack, sys.stdin.buffer, Path("stdin"))
        elif path.is_fifo() or path.is_char_device():
            yield _copied(stack, stack.enter_context(path.open("rb")), path)
        else:
            yield Source(path, path)


def _copied(stack: contextlib.ExitStack, stream: BinaryIO, name: Path) -> Source:
    path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "rows"
    with path.open("wb") as draft:
        draft.writelines(line for _, line in numbered(stream, name))
    return Source(name, path)


def answerable(tasks: list[Task], source: Source, *, every: bool) -> list[Task]:
    """The tasks whose columns the file has. Raises InputError where one has not.

    Unless it must be `every` task, that is an error only where none has its columns.
    """
    found: list[Task] = []
    lacking: list[tuple[Task, InputError]] = []
    for task in tasks:
        try:
            source.columns(task)
        except InputError as error:
            lacking.append((task, error))
        else:
            found.append(task)
    if lacking and (every or not found):
        raise _refusal(lacking)
    return found


def _refusal(lacking: list[tuple[Task, InputError]]) -> InputError:
    """What each task looked for, where the file can be read and its columns are others."""
    error = lacking[0][1]
    if not isinstance(error, MissingColumn):
        return error
    wanted: dict[str, list[str]] = {}
    for task, _ in lacking:
        wanted.setdefault(" and ".join(task.text_columns), []).append(task.name)
    needs = "; ".join(f"{columns} for {', '.join(names)}" for columns, names in wanted.items())
    what = f"its columns are {some(error.there)}; expected {needs}; --columns names others"
    return InputError(f"{error.place}: {what}")

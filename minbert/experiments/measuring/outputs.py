"""The files that a measurement is written to: checked before it begins, written at its end."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from minbert.reports.tables import csv_text
from minbert.support import durable_files
from minbert.support.errors import InputError
from minbert.support.outputs import refusing_unwritable

_SUFFIXES: Mapping[str, Sequence[str]] = {  # what the file of each flag may end in
    "json": (".json",),
    "csv": (".csv",),
    "plot": (".svg", ".png"),
    "markdown": (".md",),
}


def columns(kind: type) -> tuple[str, ...]:
    """The names of a dataclass's fields, the header of its table."""
    return tuple(entry.name for entry in dataclasses.fields(kind))


def as_csv(rows: Sequence[Any], kind: type) -> str:
    """The rows, each a `kind`, with all fields; a value of None is left empty."""
    return csv_text([columns(kind), *map(dataclasses.astuple, rows)])


def check_outputs(config: Any, about: str, kind: type) -> None:
    """Fail before anything is measured where a file that `config` names must not be written.

    A file may replace an earlier measurement and nothing else: one with `about` in its text, or a
    CSV file whose header is that of the rows' `kind`. Raises InputError.
    """
    for name, allowed in _SUFFIXES.items():
        if (given := getattr(config, name, None)) is None:
            continue
        path = Path(given)
        if path.suffix not in allowed:
            raise InputError(f"--{name} {path}: must end in {' or '.join(allowed)}")
        mark = ",".join(columns(kind)) if path.suffix == ".csv" else about
        with refusing_unwritable(f"--{name} {path}"):
            durable_files.check_writable(path)
            ours = not path.exists() or (path.is_file() and _begins_with(path, mark))
        if not ours:
            raise InputError(f"--{name} {path}: holds something else; name another file")


def _begins_with(path: Path, mark: str) -> bool:
    with path.open("rb") as stream:
        return mark.encode() in stream.read(2**16)


def write_outputs(
    config: Any,
    rows: Sequence[Any],
    kind: type,
    facts: object,
    **others: Callable[[Path], object],
) -> None:
    """Write the files that `config` names: `facts` as JSON, the rows as CSV, `others` by flag."""
    writers = {
        "json": lambda path: durable_files.write_json(path, facts),
        "csv": lambda path: durable_files.write_text(path, as_csv(rows, kind)),
        **others,
    }
    for name, write in writers.items():
        if (given := getattr(config, name)) is not None:
            write(Path(given))

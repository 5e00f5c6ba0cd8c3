"""The files a measurement is written to: named well, writable, and nobody else's."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minbert.support import durable_files
from minbert.support.errors import InputError
from minbert.support.outputs import refusing_unwritable


def as_csv(rows: Sequence[Any], fields: Sequence[str]) -> str:
    """Rows, each a dataclass, with all fields; what is not known is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    return text.getvalue()


def check_outputs(
    config: Any, suffixes: Mapping[str, Sequence[str]], about: str, fields: Sequence[str]
) -> None:
    """Fail now, not after minutes; and write over nothing but an earlier measurement.

    `suffixes`: what the file of each of `config`'s output flags may end in. An earlier file is
    known by `about` in its text, a table of plain numbers by its `fields`. Raises InputError.
    """
    for name, allowed in suffixes.items():
        if getattr(config, name) is None:
            continue
        path = Path(getattr(config, name))
        if path.suffix not in allowed:
            raise InputError(f"--{name} {path}: must end in {' or '.join(allowed)}")
        mark = ",".join(fields) if path.suffix == ".csv" else about
        with refusing_unwritable(f"--{name} {path}"):
            durable_files.check_writable(path)
            ours = not path.exists() or (path.is_file() and _begins_with(path, mark))
        if not ours:
            raise InputError(f"--{name} {path}: holds something else; name another file")


def _begins_with(path: Path, mark: str) -> bool:
    with path.open("rb") as stream:
        return mark.encode() in stream.read(2**16)

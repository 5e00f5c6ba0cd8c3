"""The runs of a grid that have no whole result, and why."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minbert.experiments.cells import FAILURE, Cell
from minbert.experiments.results import CellResult
from minbert.runtime import RunError


@dataclass(frozen=True)
class Gap:
    """A run without a result. `why` is None where none was tried to its end yet."""

    run: str
    why: str | None

    def __str__(self) -> str:
        return f"{self.run}: {f'failed: {self.why}' if self.why else 'not finished'}"


def find(cells: Sequence[Cell], out: Path) -> list[Gap]:
    """In the order of the cells."""
    found = []
    for cell in cells:
        try:
            if CellResult.read(cell, out) is None:
                found.append(Gap(cell.name, _failure(cell.folder(out))))
        except RunError as error:
            found.append(Gap(cell.name, str(error)))
    return found


def _failure(folder: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((folder / FAILURE).read_text(encoding="utf-8"))["why"])
    return None

"""The runs of a grid that have no whole result, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minbert.experiments.grid.cells import Cell
from minbert.experiments.grid.results import CellResult
from minbert.support.errors import RunError


@dataclass(frozen=True)
class Gap:
    """A run without a result. `why` is None where the run has not failed: it did not end yet."""

    run: str
    why: str | None

    def __str__(self) -> str:
        return f"{self.run}: {f'failed: {self.why}' if self.why else 'not finished'}"


def read(cells: Sequence[Cell], out: Path) -> tuple[dict[str, CellResult], list[Gap]]:
    """The undamaged results by key, and the cells without one; in the order of the cells."""
    results, missing = {}, []
    for cell in cells:
        try:
            if result := CellResult.read(cell, out):
                results[cell.key] = result
            else:
                missing.append(Gap(cell.name, cell.failure(out)))
        except RunError as error:
            missing.append(Gap(cell.name, str(error)))
    return results, missing

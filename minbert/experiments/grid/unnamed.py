"""Settings in which rows of a grid differ though no flag of theirs names them.

Rates, epochs, batch size and pooling come from the encoder's folder where they are not given. Two
rows with two encoders, or with a frozen and a trained one, may so differ in more than their names
say. A frozen encoder's heads have another learning rate than fine-tuning in the course as well:
that difference is not reported.
"""

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

from minbert.experiments.grid.cells import Cell, configuration, quietly
from minbert.experiments.grid.experiment import flags_in
from minbert.finetune.recommended import RECOMMENDED_TYPES


def unnamed(cells: Sequence[Cell]) -> list[str]:
    """A line that says which rows differ in what, from the first seed's runs; [] where none do."""
    taken: dict[tuple[str, str], dict[str, Any]] = {}  # setting, and whose, to row to value
    for cell in cells:
        if cell.seed != cells[0].seed:
            continue
        named = flags_in(shlex.split(cell.command))
        with quietly():
            config = configuration(cell.command)
        for name in RECOMMENDED_TYPES:
            if f"--{name}" not in named:
                # a frozen encoder's heads are meant to have another rate than fine-tuning
                whose = config.option if name in ("lr", "head_lr") else "all"
                taken.setdefault((name, whose), {})[cell.row] = getattr(config, name)
    differing = [
        f"{name} {_said(rows)}" for (name, _), rows in taken.items() if len(set(rows.values())) > 1
    ]
    if not differing:
        return []
    return [
        "no flag names these, and the rows have them as defaults or as their encoder's folder "
        f"recommends: {'; '.join(differing)}. Name them after -- to have them the same"
    ]


def _said(rows: dict[str, Any]) -> str:
    """The commonest value, then the other values with their rows."""
    (common, _), *others = Counter(rows.values()).most_common()
    parts = [
        f"{_shown(value)} in {', '.join(row for row, taken in rows.items() if taken == value)}"
        for value, _ in others
    ]
    return f"{_shown(common)}, but {', '.join(parts)}"


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

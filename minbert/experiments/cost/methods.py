"""The training methods whose costs are compared: the main job's flags, and what a paper claims."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from minbert.finetune.microbatches import SIZE
from minbert.support.flags import shown

STANDARD = "standard"


def typed(settings: Mapping[str, Any], quote: Callable[[str], str] = str) -> str:
    """Settings as flags of a command line, their values passed through `quote`."""
    return " ".join(
        f"--{name}" if value is True else f"--{name} {quote(shown(value))}"
        for name, value in settings.items()
    )


@dataclass(frozen=True)
class CostedMethod:
    """A way to train. `settings` are fields of `RunConfig`.

    `paper` has the forward and backward passes of a step in Table 1 of the R3F paper (Aghajanyan
    et al. 2021); None for a method that is not in it.
    """

    name: str
    settings: Mapping[str, Any]
    paper: tuple[int, int] | None

    @property
    def flags(self) -> str:
        """The main job's flags for this method."""
        return typed(self.settings)

    @property
    def paper_units(self) -> int | None:
        """The forward units of the paper's table: 1 for a forward pass, 2 for a backward pass."""
        return None if self.paper is None else self.paper[0] + 2 * self.paper[1]

    def cut(self, batch_size: int) -> tuple[CostedMethod, ...]:
        """The method on a half and on a quarter of a batch at a time."""
        return tuple(
            replace(
                self, name=f"{self.name}, {rows} at once", settings={**self.settings, SIZE: rows}
            )
            for rows in (-(-batch_size // 2), -(-batch_size // 4))
        )


def _methods() -> Iterator[CostedMethod]:
    yield CostedMethod(STANDARD, {}, (1, 1))
    # the table's S, the number of ascent steps, is SMART's 1 and FreeLB's K - 1
    for dropout in ("shared", "independent", "off"):
        masks = {"smart": True, "smart_dropout": dropout}
        yield CostedMethod(f"SMART adversarial, {dropout}", {**masks, "no_bregman": True}, (2, 2))
        yield CostedMethod(f"SMART Bregman, {dropout}", {**masks, "no_adversarial": True}, None)
        yield CostedMethod(f"SMART both, {dropout}", masks, (2, 2))
    for dropout in ("independent", "shared", "off"):
        yield CostedMethod(f"R3F, {dropout}", {"r3f": True, "r3f_dropout": dropout}, (2, 1))
    yield CostedMethod("R4F, independent", {"r4f": True}, (2, 1))
    for passes in (1, 2, 3):
        settings = {"freelb": True, "freelb_steps": passes}
        yield CostedMethod(f"FreeLB, K = {passes}", settings, (passes, passes))


METHODS = tuple(_methods())

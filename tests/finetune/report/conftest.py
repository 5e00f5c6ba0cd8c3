"""A run that leaves its page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from minbert.finetune import cli
from minbert.finetune.report import page
from minbert.finetune.report.outcome import Outcome
from tests.finetune.job.running import MAIN, make_place, run


@dataclass(frozen=True)
class Left:
    """What a run left: the page's text, what was handed over, the lines on stderr."""

    place: Path
    html: str
    outcome: Outcome
    said: str


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    """A run of two epochs on three tasks, with SMART."""
    place, outcomes = tmp_path_factory.mktemp("run"), []

    def leave(*outcome) -> None:
        outcomes.append(Outcome(*outcome))
        page.leave(*outcome)

    make_place(place)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(place)
        patched.setattr(cli, "leave_report", leave)
        said: list[str] = []
        patched.setattr(page.log, "info", lambda text, *more: said.append(text % more))
        assert run(*MAIN) == 0
        yield Left(place, Path("out", "report.html").read_text(), outcomes[0], "\n".join(said))

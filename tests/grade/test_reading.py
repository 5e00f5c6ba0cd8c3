"""How the processes that read a class start and end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from minbert.grade import reading
from minbert.grade.reading import read_all
from minbert.grade.submission import Source
from minbert.support.errors import RunError
from tests.grade.submissions import gold_of


class Fatal(Source):
    """A submission that kills whoever unpacks it."""

    def __reduce__(self) -> tuple[object, ...]:
        return _kill_worker, (os.getpid(),)


def _kill_worker(parent: int) -> None:
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def test_no_process_is_a_fork_of_one_with_threads() -> None:
    assert reading._context().get_start_method() != "fork"


def test_a_process_that_is_killed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "cores", lambda: 2)
    sources = [Fatal(str(i), tmp_path) for i in range(40)]
    with pytest.raises(RunError, match="killed; out of memory"):
        read_all(sources, gold_of(tmp_path / "gold"))

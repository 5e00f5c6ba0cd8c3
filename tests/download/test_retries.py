"""Waiting for a server: how long, how often, and when no more."""

from __future__ import annotations

import dataclasses
import time

import pytest

from minbert.download.retries import Fault, NoConnection, Patience, Tries, Unreachable
from minbert.support.errors import RunError

LIMITS = Patience(least=100, tries=4, pause=1.0, longest_pause=3.0)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, none of which takes time."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def test_pauses_double_and_end_in_an_error(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    tries = Tries("http://x/y", LIMITS)
    with caplog.at_level("INFO", logger="minbert"):
        for _ in range(3):
            tries.failed(Fault("it broke"))
    assert pauses == [1, 2, 3]
    assert caplog.messages[0] == "http://x/y: it broke; next try in 1 s"
    with pytest.raises(RunError, match=r"^http://x/y: it broke; given up after 4 tries in a row"):
        tries.failed(Fault("it broke"))


def test_a_server_may_ask_for_a_longer_pause_but_not_for_any(pauses: list[float]) -> None:
    tries = Tries("x", LIMITS)
    tries.failed(Fault("busy", wait=2.5))
    tries.failed(Fault("busy", wait=3600))
    assert pauses == [2.5, 3.0]


def test_progress_starts_the_count_anew(pauses: list[float]) -> None:
    tries = Tries("x", LIMITS)
    for reached in (0, 50, 100, 150, 199, 300, 400, 500):
        tries.failed(Fault("cut"), reached)
    assert pauses == [1, 2, 1, 2, 3, 1, 1, 1]  # 199 is 99 above 100


def test_only_new_ground_is_progress(pauses: list[float]) -> None:
    """A partial file that is thrown away and grows again cannot keep this going for ever."""
    tries = Tries("x", LIMITS)
    tries.failed(Fault("cut"), 1000)
    for reached in (0, 900):
        tries.failed(Fault("cut"), reached)
    with pytest.raises(RunError, match="goes on from the 1,050 bytes that are kept"):
        tries.failed(Fault("cut"), 1050)


def test_no_connection_is_an_error_of_its_own(pauses: list[float]) -> None:
    tries = Tries("x", dataclasses.replace(LIMITS, tries=1))
    with pytest.raises(Unreachable, match="check network and address"):
        tries.failed(NoConnection("refused"))
    assert pauses == []

"""Stop requests: when a signal waits and when it does not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from minbert.support.errors import Stopped
from minbert.support.signals import StopRequest


@pytest.fixture
def stop() -> Iterator[StopRequest]:
    """An installed request; the process's own handlers come back afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    request = StopRequest()
    request.install()
    yield request
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_raises_at_once_by_default(stop: StopRequest, number: signal.Signals) -> None:
    with pytest.raises(Stopped) as stopped:
        os.kill(os.getpid(), number)
    assert stopped.value.signum == number and str(stopped.value) == number.name


def test_a_deferred_signal_waits(stop: StopRequest) -> None:
    with stop.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signum == signal.SIGTERM
    assert stop.signum == signal.SIGTERM  # for the loop to honour


def test_a_second_signal_never_waits(stop: StopRequest) -> None:
    with stop.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped) as stopped:
            os.kill(os.getpid(), signal.SIGINT)
    assert stopped.value.signum == signal.SIGINT


def test_immediate_within_deferred(stop: StopRequest) -> None:
    with stop.deferred():
        with pytest.raises(Stopped), stop.immediate():
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signum is None
        os.kill(os.getpid(), signal.SIGTERM)  # deferred again, although the block raised
    assert stop.signum == signal.SIGTERM


def test_deferred_ends_with_its_block(stop: StopRequest) -> None:
    with pytest.raises(KeyError), stop.deferred():
        raise KeyError
    with pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGINT)


def test_stopped_passes_broad_handlers() -> None:
    """`except Exception` in a library must not swallow a stop."""
    assert not issubclass(Stopped, Exception)


def test_obeying_raises_once_a_signal_is_honoured() -> None:
    stop = StopRequest()
    stop.obey()
    stop.signum = signal.SIGTERM
    with pytest.raises(Stopped, match="SIGTERM"):
        stop.obey()

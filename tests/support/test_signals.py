"""Stop requests: when a signal waits and when it does not."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from typing import Any

import pytest

from minbert.support.errors import Stopped
from minbert.support.signals import StopRequest

FORK = get_context("fork")


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


Work = Callable[[StopRequest], object]


def printed_and_code(capfd: pytest.CaptureFixture[str], work: Work) -> tuple[str, int | None]:
    """What a process that does `work` with an installed request prints, and its exit code."""

    def whole() -> None:
        sys.unraisablehook, sys.excepthook = sys.__unraisablehook__, sys.__excepthook__
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as the commands begin
        request = StopRequest()
        request.install()
        work(request)

    process = FORK.Process(target=whole)
    process.start()
    process.join()
    return capfd.readouterr().err, process.exitcode


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def second_after_deferred(stop: StopRequest) -> None:
    with stop.deferred():
        send(signal.SIGTERM, signal.SIGINT)


def second_while_the_first_is_answered(stop: StopRequest) -> None:
    try:
        send(signal.SIGTERM)
    except Stopped:
        send(signal.SIGINT)


def second_within_a_finalizer(stop: StopRequest) -> None:
    with stop.deferred():
        send(signal.SIGTERM)
        weakref.finalize(StopRequest(), send, signal.SIGINT)
        gc.collect()


def only_one_within_a_finalizer(_: StopRequest) -> None:
    class Held:
        def __del__(self) -> None:
            send(signal.SIGINT)

    Held()
    time.sleep(60)


def only_one_that_nothing_catches(_: StopRequest) -> None:
    sys.excepthook(Stopped, Stopped(signal.SIGINT), None)


def only_one_after_the_end(stop: StopRequest) -> None:
    stop.end()
    send(signal.SIGINT)


def another_where_processes_agree(stop: StopRequest) -> None:
    stop.agree = lambda number: number
    with stop.deferred():
        send(signal.SIGTERM, signal.SIGINT)


def three_in_the_midst_of_a_line(stop: StopRequest) -> None:
    """The handler must not need the stream whose lock the interrupted line holds."""
    with stop.deferred():
        sys.stderr = io.TextIOWrapper(io.BufferedWriter(Interrupted(sys.stderr.fileno(), "wb")))
        print("a line", file=sys.stderr, flush=True)


class Interrupted(io.FileIO):
    def write(self, content: Any) -> int:
        send(signal.SIGTERM, signal.SIGINT, signal.SIGINT)
        return super().write(content)


@pytest.mark.parametrize(
    "work",
    [
        second_after_deferred,
        second_while_the_first_is_answered,
        second_within_a_finalizer,
        only_one_within_a_finalizer,
        only_one_that_nothing_catches,
        only_one_after_the_end,
        another_where_processes_agree,
        three_in_the_midst_of_a_line,
    ],
    ids=lambda work: work.__name__,
)
def test_a_second_signal_and_one_that_is_swallowed_end_the_process_without_a_traceback(
    capfd: pytest.CaptureFixture[str], work: Work
) -> None:
    said, code = printed_and_code(capfd, work)
    assert code == 130
    assert "Traceback" not in said and "Exception" not in said
    assert said.splitlines()[-1] == "stopped at once by SIGINT"


def test_what_else_a_finalizer_raises_is_shown_as_ever(capfd: pytest.CaptureFixture[str]) -> None:
    class Held:
        def __del__(self) -> None:
            raise ValueError("not a stop")

    def work(_: StopRequest) -> None:
        Held()

    said, code = printed_and_code(capfd, work)
    assert code == 0 and "ValueError: not a stop" in said


def test_what_a_launcher_passes_on_counts_once(capfd: pytest.CaptureFixture[str]) -> None:
    def work(stop: StopRequest) -> None:
        stop.agree = lambda number: number
        with stop.deferred():
            send(signal.SIGINT, signal.SIGINT)
        stop.settle()
        assert stop.signum == signal.SIGINT
        stop._since -= 60
        print("later", file=sys.stderr)
        send(signal.SIGINT)

    said, code = printed_and_code(capfd, work)
    assert code == 130
    asked, *rest = said.splitlines()
    assert asked.startswith("stopping after") and rest == ["later", "stopped at once by SIGINT"]


def test_a_signal_is_answered_without_a_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    def work(stop: StopRequest) -> None:
        sys.stderr = None  # type: ignore[assignment]
        second_after_deferred(stop)

    assert printed_and_code(capfd, work) == ("", 130)


def test_immediate_within_deferred(stop: StopRequest) -> None:
    with stop.deferred(), pytest.raises(Stopped), stop.immediate():
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.signum is None


def test_deferred_again_although_an_immediate_block_raised(stop: StopRequest) -> None:
    with stop.deferred():
        with pytest.raises(KeyError), stop.immediate():
            raise KeyError
        os.kill(os.getpid(), signal.SIGTERM)
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


def test_a_caller_gets_its_handlers_back(stop: StopRequest) -> None:
    inner = StopRequest()
    inner.install()
    inner.end()
    with pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.asked == signal.SIGTERM

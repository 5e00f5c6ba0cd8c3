"""Log lines and progress bars, with a terminal and without one."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest

from minbert.support import console
from minbert.support.console import ProgressBar, log, set_up_logging

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # all but the line feed


@pytest.fixture
def logging_to_stderr() -> Iterator[None]:
    """Logging as the command line sets it up, undone afterwards."""
    before = (log.handlers[:], log.level, log.propagate)
    set_up_logging()
    yield
    log.handlers[:], log.level, log.propagate = before


@pytest.mark.usefixtures("logging_to_stderr")
def test_no_control_characters_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(4, "epoch 1/2", "steps", every=0.0) as bar:
        for _ in range(4):
            bar.update(1, {"loss": "0.693"})
    log.info("done")
    captured = capsys.readouterr()
    assert captured.out == "" and not CONTROL.search(captured.err)
    lines = captured.err.splitlines()
    assert lines[0].startswith("epoch 1/2: 1/4 steps, ") and lines[0].endswith(", loss 0.693")
    assert lines[3] == "epoch 1/2: 4/4 steps, 0:00 left, loss 0.693"
    assert lines[4:] == ["done"]


@pytest.mark.usefixtures("logging_to_stderr")
@pytest.mark.parametrize(
    ("total", "line"), [(2_000_000, "f: 0.5/2.0 MB, 0:03 left"), (None, "f: 0.5 MB")]
)
def test_bytes_are_counted_in_megabytes_and_their_number_may_be_unknown(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    total: int | None,
    line: str,
) -> None:
    clock = iter([0.0, 1.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    ProgressBar(total, "f", "B", every=0.0).update(500_000)
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.usefixtures("logging_to_stderr")
@pytest.mark.parametrize(("total", "shown"), [(2_000_000, "500k/2.00M"), (None, "500kB")])
def test_a_terminal_gets_bytes_with_their_prefix(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    total: int | None,
    shown: str,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with ProgressBar(total, "f", "B", every=0.0) as bar:
        bar._bar.mininterval = 0
        bar.update(500_000)
    assert shown in capsys.readouterr().err


@pytest.mark.usefixtures("logging_to_stderr")
def test_plain_lines_keep_their_distance(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(1000, "t", "steps", every=3600.0) as bar:
        for _ in range(1000):
            bar.update(1)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("logging_to_stderr")
def test_time_left_counts_only_what_this_run_did(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 100.0, 4000.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    bar = ProgressBar(100, "t", "steps", done=50, every=1.0)
    bar.update(10)  # 10 of the last 50 took 100 s: 40 left take 400 s
    bar.update(10)  # 20 took 4000 s: 30 left take 6000 s
    first, second = capsys.readouterr().err.splitlines()
    assert first == "t: 60/100 steps, 6:40 left"
    assert second == "t: 70/100 steps, 1:40:00 left"


@pytest.mark.usefixtures("logging_to_stderr")
def test_an_update_by_nothing_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(3, "t", "steps", every=0.0) as bar:
        bar.update(0)
    assert not CONTROL.search(capsys.readouterr().err)


@pytest.mark.usefixtures("logging_to_stderr")
def test_a_terminal_gets_a_bar_and_whole_log_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with ProgressBar(4, "epoch", "steps", every=0.0) as bar:
        bar.update(2, {"loss": "0.5"})
        log.info("a line of its own")
    shown = capsys.readouterr().err
    assert "\repoch" in shown
    assert "a line of its own\n" in shown
    assert "2/4 steps" not in shown  # the plain line is for other places


@pytest.mark.usefixtures("logging_to_stderr")
def test_a_log_line_is_plain_and_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging()  # twice is once
    log.error("error: %s", "x")
    log.debug("too fine")
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "error: x\n"
    assert log.propagate is False  # a library's root handler would print it again


FIGURES = {"loss": "0.6931", "running": "x" * 99, "best dev": "0.4727"}


@pytest.mark.usefixtures("logging_to_stderr")
@pytest.mark.parametrize("total", [50, 12_345_678, None])
def test_a_bar_fits_eighty_columns_and_the_first_figures_stay(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    total: int | None,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with ProgressBar(total, "epoch 10/10", "steps", done=(total or 200) // 2) as bar:
        bar._bar.mininterval = 0
        bar._bar.start_t -= 1e5  # it took a day
        bar.update(1, FIGURES)
    lines = [line for line in capsys.readouterr().err.split("\r") if "loss=" in line]
    assert max(map(len, lines)) <= 80
    figures = [f"{name}={value}" for name, value in FIGURES.items()]
    assert [figure in lines[-1] for figure in figures] == [True, False, True]


@pytest.mark.usefixtures("logging_to_stderr")
def test_the_callers_estimate_takes_the_place_of_the_pace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ProgressBar(100, "t", "%", every=0.0, estimated=True).update(0, left=90.0)
    assert capsys.readouterr().err == "t: 0/100 %, 1:30 left\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with ProgressBar(100, "t", "%", estimated=True) as bar:
        bar._bar.mininterval = 0
        bar.update(50, {"done": "1/2"}, left=90.0)
    assert "50/100, 1:30 left, done=1/2" in capsys.readouterr().err

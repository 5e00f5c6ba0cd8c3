"""Seeds, device and precision, progress bars and stop requests."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator

import pytest
import torch

from minbert.support import runtime
from minbert.support.runtime import (
    InputError,
    ProgressBar,
    Stopped,
    StopRequest,
    at_least_fp32,
    derive_seed,
    generator,
    log,
    pick_autocast,
    pick_device,
    seeded,
    set_up_logging,
)

CPU = torch.device("cpu")
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # all but the line feed


@pytest.fixture
def logging_to_stderr() -> Iterator[None]:
    """Logging as the command line sets it up, undone afterwards."""
    before = (log.handlers[:], log.level, log.propagate)
    set_up_logging()
    yield
    log.handlers[:], log.level, log.propagate = before


@pytest.fixture
def stop() -> Iterator[StopRequest]:
    """An installed request; the process's own handlers come back afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    request = StopRequest()
    request.install()
    yield request
    for number, handler in before.items():
        signal.signal(number, handler)


# ---------------------------------------------------------------------------------- randomness


def test_derived_seeds_fit_32_bits() -> None:
    seeds = [derive_seed(11711, "dropout", step) for step in range(2000)]
    assert all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in seeds)
    assert max(seeds) > 2**31  # all 32 bits are used
    assert len(set(seeds)) > 1990  # a clash in 2000 draws of 2**32 is all but impossible


def test_derived_seed_depends_on_every_part() -> None:
    base = (1, "order", 2, 3)
    others = [(2, "order", 2, 3), (1, "noise", 2, 3), (1, "order", 3, 3), (1, "order", 2, 4)]
    others += [(1, "order", 2), (1, "order", 23), (1, "order", 3, 2), (12, "order", 3)]
    assert len({derive_seed(*parts) for parts in (base, *others)}) == len(others) + 1
    assert derive_seed(*base) == derive_seed(*base)


def test_derived_seed_is_the_same_on_every_machine() -> None:
    """SHA-256 of the parts joined by the unit separator, first four bytes, big-endian."""
    assert derive_seed(0, "x") == 0x45FDDFBB
    assert derive_seed(11711, "dropout", 7, "rank") == 0xACF16D8E


def test_seeded_replays_and_restores() -> None:
    torch.manual_seed(5)
    undisturbed = torch.rand(4)
    torch.manual_seed(5)
    with seeded(9, CPU):
        first = torch.rand(3)
    with seeded(9, CPU):
        again = torch.rand(3)
    with seeded(10, CPU):
        other = torch.rand(3)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.rand(4), undisturbed)


def test_seeded_restores_after_an_exception() -> None:
    before = torch.get_rng_state()
    with pytest.raises(KeyError), seeded(1, CPU):
        torch.rand(1)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)


def test_seeded_nests() -> None:
    with seeded(1, CPU):
        whole = torch.rand(4)
    with seeded(1, CPU):
        head = torch.rand(2)
        with seeded(2, CPU):
            torch.rand(7)
        tail = torch.rand(2)
    assert torch.equal(torch.cat([head, tail]), whole)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_seeded_replays_and_restores_on_cuda() -> None:
    cuda = torch.device("cuda")
    before = torch.cuda.get_rng_state(cuda)
    with seeded(9, cuda):
        first = torch.rand(3, device=cuda)
    with seeded(9, cuda):
        assert torch.equal(torch.rand(3, device=cuda), first)
    assert torch.equal(torch.cuda.get_rng_state(cuda), before)


def test_generator_leaves_the_default_one_alone() -> None:
    before = torch.get_rng_state()
    first, again = (torch.rand(3, generator=generator(4)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


# ------------------------------------------------------------------------- device and precision


@pytest.mark.parametrize(
    ("cuda", "mps", "best"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_best_device(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, best: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device("auto") == torch.device(best)
    assert pick_device("cpu") == CPU
    if best != "cpu":
        assert pick_device("auto", require_gpu=True).type == best


def test_absent_devices_are_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "mps"):
        with pytest.raises(InputError, match=f"--device {name}"):
            pick_device(name)
    with pytest.raises(InputError, match="--use_gpu"):
        pick_device("auto", require_gpu=True)
    with pytest.raises(InputError, match="--use_gpu"):
        pick_device("cpu", require_gpu=True)


def test_autocast_dtype() -> None:
    assert pick_autocast("fp32", CPU) is None
    assert pick_autocast("auto", CPU) is None
    assert pick_autocast("bf16", CPU) is torch.bfloat16


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_bf16_only_where_cuda_has_it(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    expected = torch.bfloat16 if native else None
    assert pick_autocast("auto", torch.device("cuda")) is expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_at_least_fp32(given: torch.dtype, expected: torch.dtype) -> None:
    assert at_least_fp32(torch.ones(2, dtype=given)).dtype is expected


# ------------------------------------------------------------------------- logs, bars, signals


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
    monkeypatch.setattr(runtime.time, "monotonic", lambda: next(clock))
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
    monkeypatch.setattr(runtime.time, "monotonic", lambda: next(clock))
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

"""What every command does around its work: errors to exit codes, results on stdout."""

from __future__ import annotations

import io
import os
import signal
import sys

import pytest
import torch

from minbert.support.command import run_command, show
from minbert.support.errors import InputError, RunError, Stopped


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("wrong"), 2, "error: wrong"),
        (RunError("broke"), 1, "error: broke"),
        (OSError(28, "No space left on device"), 1, "error: [Errno 28] No space left on device"),
        (torch.OutOfMemoryError("CUDA out of memory.\nmore"), 1, "lower --batch_size or, "),
        (Stopped(signal.SIGINT), 130, "stopped by SIGINT; go on so"),
        (Stopped(signal.SIGTERM), 143, "stopped by SIGTERM; go on so"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_is_one_line_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, words: str
) -> None:
    def fail(_: object) -> None:
        raise error

    assert run_command(fail, if_stopped="go on so") == code
    printed = capsys.readouterr()
    assert words in printed.err and printed.err.count("\n") == 1 and printed.out == ""


def test_without_an_error_the_code_is_0() -> None:
    assert run_command(lambda _: "done") == 0


def piped_stdout(monkeypatch: pytest.MonkeyPatch) -> tuple[io.TextIOWrapper, int]:
    """A stdout that knows ASCII only, and the handle at which it is read."""
    reader, writer = os.pipe()
    stream = io.TextIOWrapper(os.fdopen(writer, "wb"), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    return stream, reader


def test_a_reader_who_leaves_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, reader = piped_stdout(monkeypatch)
    os.close(reader)
    show("x" * 10**6)
    show("and on")
    stream.close()  # as Python does when it ends


def test_a_letter_that_the_reader_lacks_is_spelled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, reader = piped_stdout(monkeypatch)
    show("é, ナ")
    stream.close()
    with os.fdopen(reader, "rb") as read:
        assert read.read() == b"\\xe9, \\u30ca\n"


def test_without_a_stdout_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    show("x")

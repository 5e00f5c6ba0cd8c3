"""What every command does around its work: errors to exit codes, results on stdout."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minbert.support.command import run_command, show
from minbert.support.errors import InputError, RunError, Stopped
from tests.helpers import ROOT


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("wrong"), 2, "error: wrong"),
        (RunError("broke"), 1, "error: broke"),
        (OSError(28, "No space left on device"), 1, "error: [Errno 28] No space left on device"),
        (torch.OutOfMemoryError("CUDA out of memory.\nmore"), 1, "lower --batch_size or, "),
        (MemoryError(), 1, "out of memory (none is left); lower --batch_size"),
        (RuntimeError("could not create a primitive"), 1, "out of memory (could not"),
        (OSError(12, "Cannot allocate memory"), 1, "out of memory ([Errno 12]"),
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


def test_memory_that_ran_out_within_a_reader_is_not_called_a_wrong_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> None:
        try:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
        except RuntimeError as error:
            raise InputError("weights: damaged") from error

    assert run_command(fail) == 1
    assert "error: out of memory (weights: damaged)" in capsys.readouterr().err


def test_an_error_of_the_package_itself_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And has a line: where ranks train together, it is what the first to fail says."""

    def fail(_: object) -> None:
        raise RuntimeError("shapes (2, 3) and (4, 5)")

    with pytest.raises(RuntimeError, match="shapes"):
        run_command(fail)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: RuntimeError('shapes (2, 3) and (4, 5)'), which is a fault of")


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


MODULES = (
    "minbert.pretrain",
    "minbert.grade",
    "minbert.download",
    "minbert.experiments",
    "minbert.experiments.summary",
    "minbert.experiments.grid.cell",
    "minbert.sample",
)


@pytest.mark.parametrize("module", MODULES)
def test_ctrl_c_while_a_command_is_imported_is_silent(tmp_path: Path, module: str) -> None:
    """A library that the module imports sends the signal, as if it came while that was read."""
    for library in ("torch", "numpy", "argparse"):
        (tmp_path / f"{library}.py").write_text("import os\nos.kill(os.getpid(), 2)\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-m", module], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_to_import_the_package_takes_over_no_signal() -> None:
    code = "import signal as s; old = s.getsignal(2); import minbert; print(s.getsignal(2) is old)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "True\n"


def test_a_stdout_that_is_full_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", full)
        assert run_command(lambda _: show("a result")) == 0
    said = "error: stdout: cannot be written ([Errno 28] No space left on device)"
    assert said.removeprefix("error: ") in capsys.readouterr().err


def test_results_hold_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    show("a\x1b[31m\tb\udcff\n\u202eé")
    assert capsys.readouterr().out == "a\\x1b[31m\\tb\\udcff\n\\u202eé\n"

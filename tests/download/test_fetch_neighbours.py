"""A download among full disks, locked folders, signals and other downloads."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from minbert.download.fetch import alone_in, partial_of
from minbert.support.errors import RunError, Stopped
from tests.download.faulty_server import Exchange, Server
from tests.download.one_file import CONTENT, PATH, get, names, offsets


def test_a_full_disk_keeps_what_came_and_says_so(
    mirror: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file.csv"
    real = Path.open

    class Full:
        def __init__(self, stream: Any) -> None:
            self.stream, self.room = stream, 100_000

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *exc: object) -> None:
            self.stream.close()

        def write(self, data: bytes) -> None:
            self.stream.write(data[: self.room])
            self.room -= min(len(data), self.room)
            if self.room == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opened(path: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
        stream = real(path, mode, *more, **named)
        return Full(stream) if path.name.endswith(".part") and mode in ("ab", "wb") else stream

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(RunError, match=r"cannot be written .No space left.*make room"):
        get(mirror, target)
    assert names(tmp_path) == [".file.csv.part"]
    monkeypatch.undo()
    get(mirror, target)
    assert offsets(mirror) == [0, 100_000]
    assert target.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line(
    mirror: Server, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("a file is in the way")
    with pytest.raises(RunError, match="cannot be written"):
        get(mirror, tmp_path / "data" / "file.csv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_locked_is_an_error_of_one_line(mirror: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RunError, match=r"cannot be written .Permission denied.*rights"):
            get(mirror, tmp_path / "file.csv")
    finally:
        tmp_path.chmod(0o700)


def test_a_file_system_without_locks_takes_a_download(
    mirror: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Some network file systems have none; the log says it once."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    for name in ("a.csv", "b.csv"):
        get(mirror, tmp_path / name)
        assert (tmp_path / name).read_bytes() == CONTENT
    assert caplog.text.count("this file system has no locks") == 1


def test_a_stop_keeps_the_partial_file_and_no_target(mirror: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.csv"

    def stop_in_the_middle(it: Exchange) -> None:
        it.send(it.start()[:120_000])
        part = partial_of(target)  # most of it is there soon, the end perhaps still in a buffer
        while not (part.exists() and part.stat().st_size > 100_000):
            it.server.closing.wait(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        it.server.closing.wait(5)

    def raise_stopped(signum: int, _frame: object) -> None:
        raise Stopped(signum)

    signal.signal(signal.SIGINT, raise_stopped)
    mirror.faults[PATH] = [stop_in_the_middle]
    with pytest.raises(Stopped):
        get(mirror, target)
    assert names(tmp_path) == [".file.csv.part"]
    kept = partial_of(target).read_bytes()
    assert kept == CONTENT[: len(kept)] and 100_000 < len(kept) <= 120_000
    get(mirror, target)
    assert offsets(mirror) == [0, len(kept)]
    assert target.read_bytes() == CONTENT


def test_two_at_once_fetch_it_once(
    mirror: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "file.csv"

    def slowly(it: Exchange) -> None:
        while caplog.text.count("waiting for it") < 3 and not it.server.closing.wait(0.01):
            pass
        it.good()

    mirror.faults[PATH] = [slowly]
    with caplog.at_level("INFO", logger="minbert"), ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: get(mirror, target), range(4)))
    assert len(mirror.requests) == 1
    assert caplog.text.count("another download is at work there; waiting for it") == 3
    assert target.read_bytes() == CONTENT
    assert names(tmp_path) == ["file.csv"]


def test_a_folder_is_given_back(tmp_path: Path) -> None:
    with pytest.raises(KeyError), alone_in(tmp_path / "new"):
        raise KeyError
    done = threading.Event()

    def hold() -> None:
        with alone_in(tmp_path / "new"):
            done.set()

    thread = threading.Thread(target=hold)
    thread.start()
    assert done.wait(5)
    thread.join()

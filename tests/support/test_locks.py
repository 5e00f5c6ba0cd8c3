"""Locks: one holder at a time, whose end frees the folder, and none where there are no locks."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from minbert.support.errors import Stopped
from minbert.support.locks import lock, opened

NO_LOCKS = ("ENOLCK", "ENOSYS", "EOPNOTSUPP", "ENOTSUP")


def test_a_folder_has_one_holder_until_it_is_closed(tmp_path: Path) -> None:
    with opened(tmp_path) as first, opened(tmp_path) as second:
        assert lock(first, tmp_path, wait=False)
        assert not lock(second, tmp_path, wait=False)
    with opened(tmp_path) as third:
        assert lock(third, tmp_path, wait=False)


def test_a_lock_leaves_nothing_in_the_folder(tmp_path: Path) -> None:
    with opened(tmp_path) as handle:
        assert lock(handle, tmp_path, wait=False)
        assert list(tmp_path.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_who_waits_has_the_folder_once_it_is_free(tmp_path: Path) -> None:
    with opened(tmp_path) as handle, opened(tmp_path) as waiting:
        assert lock(handle, tmp_path, wait=False)
        threading.Timer(0.2, fcntl.flock, (handle, fcntl.LOCK_UN)).start()
        began = time.monotonic()
        assert lock(waiting, tmp_path, wait=True)
        assert time.monotonic() - began > 0.1
        assert not lock(handle, tmp_path, wait=False)


def test_a_signal_ends_the_wait(tmp_path: Path) -> None:
    def raise_stopped(signum: int, _frame: object) -> None:
        raise Stopped(signum)

    signal.signal(signal.SIGTERM, raise_stopped)
    with opened(tmp_path) as handle, opened(tmp_path) as waiting:
        assert lock(handle, tmp_path, wait=False)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(Stopped):
            lock(waiting, tmp_path, wait=True)


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("name", NO_LOCKS)
def test_without_locks_a_folder_is_free_with_one_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    wait: bool,
) -> None:
    fail_with(getattr(errno, name), monkeypatch)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in (*folders, *folders):
        folder.mkdir(exist_ok=True)
        with opened(folder) as handle:
            assert lock(handle, folder, wait=wait)
        assert list(folder.iterdir()) == []  # no lock of another kind took its place
    assert [record.getMessage().partition(": ")[0] for record in caplog.records] == [
        str(folder) for folder in folders
    ]
    assert caplog.text.count("this file system has no locks") == 2


def test_another_fault_of_a_lock_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(errno.EIO, monkeypatch)
    with opened(tmp_path) as handle, pytest.raises(OSError, match=os.strerror(errno.EIO)):
        lock(handle, tmp_path, wait=False)


def fail_with(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)

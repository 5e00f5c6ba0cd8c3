"""A run's folder: one run at a time, and no earlier run is ever overwritten."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing import get_context
from pathlib import Path

import pytest

from minbert.support.errors import InputError
from minbert.training.run_folder import (
    BAD_ROWS,
    ENCODER,
    LOG,
    MANIFEST,
    REPORT,
    held,
    set_earlier_run_aside,
)

FORK = get_context("fork")


def leave_a_run(folder: Path, content: str = "{}") -> None:
    """A folder as a run that starts afresh leaves it."""
    with held(folder):
        set_earlier_run_aside(folder)
        (folder / MANIFEST).write_text(content)
        (folder / "best-0001").mkdir()


def test_a_folder_that_stays_empty_goes_again(tmp_path: Path) -> None:
    with held(tmp_path / "runs" / "new"):
        assert (tmp_path / "runs" / "new").is_dir()
    assert not (tmp_path / "runs" / "new").exists()


def test_who_is_refused_leaves_the_folder_of_a_run_that_has_written_nothing_yet(
    tmp_path: Path,
) -> None:
    with held(tmp_path / "run"):
        with pytest.raises(InputError, match="another run is using it"), held(tmp_path / "run"):
            pass
        (tmp_path / "run" / MANIFEST).touch()


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    leave_a_run(tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_earlier_run_is_set_aside_whole(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for content in ("first", "second", "third"):
        leave_a_run(folder, content)
    for name, content in {"run.old1": "first", "run.old2": "second", "run": "third"}.items():
        assert (tmp_path / name / MANIFEST).read_text() == content
        assert (tmp_path / name / "best-0001").is_dir()


def test_holding_alone_changes_nothing(tmp_path: Path) -> None:
    leave_a_run(tmp_path / "run", "first")
    with held(tmp_path / "run"):
        assert (tmp_path / "run" / MANIFEST).read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_is_held_by_one_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with held(folder):
        (folder / MANIFEST).write_text("at work")
        with pytest.raises(InputError, match="another run is using it"), held(folder):
            pass
        assert (folder / MANIFEST).read_text() == "at work"
    with held(folder):
        pass


NO_LOCKS = ("ENOLCK", "ENOSYS", "EOPNOTSUPP", "ENOTSUP")


@pytest.fixture(params=[*NO_LOCKS, "EPERM"])
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No locks and, the last time, no hard links either."""
    no_links = request.param == "EPERM"
    code = errno.ENOLCK if no_links else getattr(errno, request.param)
    monkeypatch.setattr(fcntl, "flock", failing(code))
    if no_links:
        monkeypatch.setattr(os, "link", failing(errno.EPERM))


def in_child(work: Callable[[], int]) -> int | None:
    """The exit code of a forked process that does `work`."""
    process = FORK.Process(target=lambda: os._exit(work()))
    process.start()
    process.join()
    return process.exitcode


def try_to_hold(folder: Path) -> int:
    try:
        with held(folder):
            return 0
    except InputError as error:
        return 2 if "another run is using it" in str(error) else 1


@pytest.mark.usefixtures("without_locks")
def test_without_locks_a_folder_is_held_by_one_run_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    leave_a_run(folder, "first")
    with held(folder):
        assert in_child(lambda: try_to_hold(folder)) == 2
        assert try_to_hold(folder) == 2
    assert in_child(lambda: try_to_hold(folder)) == 0
    leave_a_run(folder, "second")
    assert (tmp_path / "run.old1" / MANIFEST).read_text() == "first"
    assert "no locks" not in caplog.text


@pytest.mark.usefixtures("without_locks")
def test_without_locks_the_next_run_takes_over_from_a_killed_one(tmp_path: Path) -> None:
    def hold_and_die() -> int:
        with held(tmp_path / "run"):
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    for _ in range(2):
        assert in_child(hold_and_die) == -signal.SIGKILL
        assert in_child(lambda: try_to_hold(tmp_path / "run")) == 0


@pytest.mark.parametrize("links", [True, False])
def test_without_locks_one_of_many_wins(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All begin at once, after a run that was killed, and hold until the last has tried."""
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    if not links:
        monkeypatch.setattr(os, "link", failing(errno.EPERM))
    folder, count = tmp_path / "run", 8
    in_child(lambda: os.kill(os.getpid(), signal.SIGKILL) if enter(held(folder)) else 0)
    begin, tried = FORK.Barrier(count), FORK.Barrier(count)

    def attempt() -> None:
        begin.wait(60)
        try:
            with held(folder):
                tried.wait(60)
                os._exit(0)
        except InputError:
            tried.wait(60)
            os._exit(2)

    processes = [FORK.Process(target=attempt) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(process.exitcode for process in processes) == [0, *[2] * (count - 1)]


def enter(context: AbstractContextManager[None]) -> bool:
    context.__enter__()
    return True


def test_another_fault_of_a_lock_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), held(tmp_path / "run"):
        pass


def failing(number: int) -> Callable[..., None]:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return flock


def test_a_run_that_fails_lets_its_folder_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(tmp_path / "run"):
        raise ZeroDivisionError
    with held(tmp_path / "run"):
        pass


def test_a_draft_that_a_kill_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / f".{MANIFEST}.123.tmp").write_text("{")
    with held(tmp_path / "run"):
        pass


def test_something_else_than_a_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("words")
    (tmp_path / "file").write_text("words")
    with pytest.raises(InputError, match="something else"), held(tmp_path / "thesis"):
        pass
    with pytest.raises(InputError, match="a file of that name"), held(tmp_path / "file"):
        pass
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["chapter.tex", "file", "thesis"]


def test_files_that_are_not_the_runs_stay(tmp_path: Path) -> None:
    leave_a_run(tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("words")
    leave_a_run(tmp_path / "run", "second")
    assert (tmp_path / "run" / "notes.txt").read_text() == "words"
    assert (tmp_path / "run.old1" / MANIFEST).exists()


def test_the_current_folder_can_hold_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for content in ("first", "second"):
        leave_a_run(Path(), content)
    assert (tmp_path / "here.old1" / MANIFEST).read_text() == "first"


@pytest.mark.parametrize("name", [MANIFEST, LOG, BAD_ROWS, REPORT, ENCODER])
def test_what_stands_where_a_run_keeps_something_else_is_named(tmp_path: Path, name: str) -> None:
    leave_a_run(tmp_path)
    path = tmp_path / name
    path.unlink(missing_ok=True)
    if name == ENCODER:
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(InputError, match=f"{name}: is no f.* move it away"), held(tmp_path):
        raise AssertionError
    assert path.exists() and (tmp_path / "best-0001").exists()


@pytest.mark.parametrize("name", ["x" * 300, os.fsdecode(b"run-\xff"), "a/" * 3000])
def test_a_name_that_no_run_can_have_is_refused_before_it_begins(tmp_path: Path, name: str) -> None:
    refused = pytest.raises(InputError, match=r"its name is no UTF-8|cannot be made")
    with refused, held(tmp_path / name):
        raise AssertionError
    assert list(tmp_path.iterdir()) == []

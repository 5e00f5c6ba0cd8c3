"""The injector: operations are seen where they happen, and faults strike once or from then on."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from minbert.experiments.faults.operations import Operation, watch
from minbert.experiments.faults.strikes import Fault, Scene
from minbert.experiments.faults.tamper import DAMAGES, damage
from minbert.experiments.faults.unsynced import Unsynced
from minbert.support import durable_files

Run = Callable[..., int]


@pytest.fixture
def run(forking: ForkServerContext) -> Iterator[Run]:
    """`run(work, *given)`: some work in a process of its own; the exit code."""

    def begin(work: Callable[..., None], *given: object) -> int:
        process = forking.Process(target=work, args=given)
        process.start()
        process.join(60)
        assert process.exitcode is not None
        return process.exitcode

    yield begin


def write_twice(folder: Path) -> None:
    durable_files.write_text(folder / "sub" / "file.txt", "first")
    durable_files.write_text(folder / "sub" / "file.txt", "second")


def listing(folder: Path) -> None:
    seen: list[str] = []

    def watcher(operation: Operation) -> object:
        seen.append(operation.kind)
        return operation.perform()

    watch(folder, watcher)
    (folder.parent / "elsewhere").write_text("not watched")
    write_twice(folder)
    (folder.parent / "seen").write_text(" ".join(seen))


def test_every_operation_below_the_folder_is_seen(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    assert run(listing, folder) == 0
    seen = (tmp_path / "seen").read_text().split()
    whole = "create write open sync rename open sync"  # one atomic write
    without = " ".join(kind for kind in seen if kind in set(whole.split()))
    assert without.count(whole.replace("open sync rename", "open sync open sync rename")) == 2
    assert seen.count("mkdir") == 2  # one makes it, one finds it
    assert (folder / "sub" / "file.txt").read_text() == "second"


def with_fault(folder: Path, fault: Fault) -> None:
    (folder.parent / "attic").mkdir()
    unsynced = Unsynced(folder, folder.parent / "attic")
    Scene(folder, fault, lambda _words: None, unsynced).begin()
    try:
        write_twice(folder)
    except OSError as error:
        sys.exit(error.errno)


def test_a_kill_at_any_operation_leaves_a_file_whole(tmp_path: Path, run: Run) -> None:
    found = set()
    for number in range(1, 40):
        folder = tmp_path / str(number) / "place"
        folder.mkdir(parents=True)
        how = ("before", "midst", "after")[number % 3]
        code = run(with_fault, folder, Fault("kill", number, details={"how": how}))
        path = folder / "sub" / "file.txt"
        found.add(path.read_text() if path.exists() else None)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert found == {None, "first", "second"}
    assert number > 12


@pytest.mark.parametrize("lasting", [False, True])
def test_an_error_strikes_once_or_from_then_on(tmp_path: Path, run: Run, lasting: bool) -> None:
    folder = tmp_path / "place"
    folder.mkdir()
    details = {"errno": errno.ENOSPC}
    fault = Fault("error", 2, lasting=lasting, only=("write",), details=details)
    assert run(with_fault, folder, fault) == errno.ENOSPC
    assert (folder / "sub" / "file.txt").read_text() == "first"
    assert [path.name for path in (folder / "sub").iterdir()] == ["file.txt"]


def unflushed(folder: Path, flush: str, mode: str) -> None:
    (folder.parent / "attic").mkdir()
    unsynced = Unsynced(folder, folder.parent / "attic")
    watch(folder, unsynced.watching(lambda operation: operation.perform()))
    path, draft = folder / "file", folder / "draft"
    with draft.open("w") as stream:
        stream.write("new content")
        stream.flush()
        if "content" in flush:
            os.fsync(stream.fileno())
    draft.replace(path)
    if "name" in flush:
        durable_files._sync(folder)
    unsynced.cut(mode, 0)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("flush", "mode", "left"),
    [
        ("nothing", "contents", "new c"),
        ("name", "contents", "new c"),
        ("content and name", "contents", "new content"),
        ("nothing", "names", "old content"),
        ("content", "names", "old content"),
        ("content and name", "names", "new content"),
        ("content and name", "some", "new content"),
    ],
)
def test_a_power_cut_takes_what_was_not_flushed(
    tmp_path: Path, run: Run, flush: str, mode: str, left: str
) -> None:
    folder = tmp_path / "place"
    folder.mkdir()
    (folder / "file").write_text("old content")
    assert run(unflushed, folder, flush, mode) == -signal.SIGKILL
    assert (folder / "file").read_text() == left


def appended(folder: Path, earlier: bool) -> None:
    """A log that is flushed once, and written to again; by an `earlier` process, at first."""
    (folder.parent / "attic").mkdir()
    unsynced = Unsynced(folder, folder.parent / "attic")
    if earlier:
        (folder / "log").write_text("flushed ")
    watch(folder, unsynced.watching(lambda operation: operation.perform()))
    with (folder / "log").open("a") as stream:
        if not earlier:
            stream.write("flushed ")
            stream.flush()
            os.fsync(stream.fileno())
        stream.write("not yet.")
    unsynced.cut("contents", 0)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_power_cut_leaves_the_part_of_a_file_that_was_flushed(
    tmp_path: Path, run: Run, earlier: bool
) -> None:
    folder = tmp_path / "place"
    folder.mkdir()
    assert run(appended, folder, earlier) == -signal.SIGKILL
    assert (folder / "log").read_text() == "flushed not "


DETAILS: dict[str, dict[str, object]] = {
    "flip": {"place": 0.5, "bit": 3},
    "cut": {"share": 0.5},
    "zeros": {"place": 0.2},
    "swap": {"other": "other"},
    "copy": {"other": "other"},
    "write": {"text": "something else"},
    "append": {"text": "more"},
    "replace": {"old": "content", "new": "nothing"},
    "random": {"size": 10, "seed": 1},
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damage_changes_a_file_and_is_undone(tmp_path: Path, how: str) -> None:
    path, attic = tmp_path / "in" / "file", tmp_path / "attic"
    path.parent.mkdir()
    attic.mkdir()
    path.write_text("the content of a file")
    (tmp_path / "in" / "other").write_text("of another")
    undo = damage(path, how, DETAILS.get(how, {}), attic)
    is_file = path.is_file() and path.stat().st_size < 2**20
    assert not is_file or path.read_bytes() != b"the content of a file"
    undo()
    assert path.read_text() == "the content of a file"

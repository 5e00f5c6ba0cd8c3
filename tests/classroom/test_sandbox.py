"""Hostile submissions get their marks and nothing else; what is enforced holds for each user."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minbert.classroom.marking import jail, sandbox, warden
from minbert.classroom.source import PACKAGE
from tests.classroom.bench import Bench, our_files
from tests.classroom.hostile import (
    FILE,
    HOSTILE,
    LEAVES_A_TRACE,
    LOOKS_FOR_IT,
    SPYING,
    Hostile,
)
from tests.helpers import ROOT

QUICK = {
    "infinite loop",
    "fork bomb",
    "20 GB",
    "os._exit",
    "forged results are printed",
    "the comparison is replaced",
    "giant",
    "writes outside",
    "reads the solution",
}
slow = pytest.mark.slow
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux's")
pytestmark = needs_linux


def each(hostile: tuple[Hostile, ...]) -> list[object]:
    """Those that are quick, and the others among the slow tests."""
    return [
        pytest.param(one, id=one.name, marks=() if one.name in QUICK else slow) for one in hostile
    ]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("bench"))
    with made.sandbox:
        yield made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A place outside that every user may write."""
    tmp_path.chmod(0o777)
    return tmp_path / "outside"


def test_our_own_modules_have_all_points(bench: Bench) -> None:
    marks = bench.marks(our_files(bench.steps))
    assert [mark.wrong for mark in marks] == [{}, {}]
    assert [mark.points for mark in marks] == [mark.step.points for mark in marks]


@pytest.mark.parametrize("one", each(HOSTILE))
def test_a_hostile_submission_has_no_more_than_its_points(
    bench: Bench, one: Hostile, target: Path
) -> None:
    if one.name == "writes outside" and not bench.sandbox.has_namespaces:
        pytest.skip("it is not enforced here")
    mark = bench.hostile(one, target=str(target))
    assert all(len(words) < 1000 and words.isprintable() for words in mark.wrong.values())
    assert not target.exists()
    assert bench.sandbox.user is None or jail.tasks_of(bench.sandbox.user) == 0
    assert list((bench.sandbox.folder / "scratch").iterdir()) == []


@pytest.mark.parametrize("one", each(SPYING))
def test_a_submission_sees_neither_solution_nor_key_nor_network(bench: Bench, one: Hostile) -> None:
    if not bench.sandbox.has_namespaces:
        pytest.skip("it takes root and namespaces")
    with socket.create_server(("127.0.0.1", 0)) as server:
        solution = str(PACKAGE.parent / FILE)
        mark = bench.hostile(one, solution=solution, port=server.getsockname()[1])
    assert "found" not in one.says or mark.points == 0


def test_a_step_is_not_charged_for_another_ones_module(bench: Bench) -> None:
    """Both steps lie in one file here, so the other error is one that only its own step meets."""
    loop = next(one for one in HOSTILE if one.name == "os._exit").module()
    first, second = bench.marks({FILE: loop})
    assert first.points == 0 and second.points == second.step.points


def test_a_right_is_tried_in_a_child_and_leaves_no_trace() -> None:
    before = os.getuid(), Path.cwd(), os.umask(0o22)
    assert warden._can(lambda: os.chdir("/")) and warden._can(lambda: os.umask(0o77))
    assert not warden._can(lambda: os.open("/none", os.O_RDONLY)) and not warden._can(sys.exit)
    assert (os.getuid(), Path.cwd(), os.umask(before[2])) == (*before[:2], 0o22)


def test_the_next_submission_finds_nothing_of_the_last_ones_answer(bench: Bench) -> None:
    """Its process begins with the memory of the one that it is forked from."""
    (first,) = bench.marks({FILE: LEAVES_A_TRACE.module()}, steps=bench.steps[:1])
    assert "koob-der-" * 9 in first.wrong["weights"]
    (second,) = bench.marks({FILE: LOOKS_FOR_IT.module()}, steps=bench.steps[:1])
    assert re.search(r"RuntimeError: 0 in [1-9]\d* MB", second.wrong["weights"]), second.wrong


def test_an_installed_copy_of_the_solution_is_covered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(jail, "enter_root", lambda _root, _folders, covered: seen.extend(covered))
    warden._enter_root({"root": str(tmp_path)}, "tree")
    assert {PACKAGE, PACKAGE.parent / ".git", tmp_path / "minbert"} <= set(seen)


def test_what_a_user_leaves_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.getuid():
        pytest.skip("only root can become another user")
    user, folder = sandbox._user(7), tmp_path / "for all"
    monkeypatch.setattr(jail, "_EVERYBODYS", (str(folder),))
    folder.mkdir()
    for above in folder.parents:
        mode = above.stat().st_mode
        if above.is_relative_to(tempfile.gettempdir()) and not mode & 0o001:
            above.chmod(mode | 0o011)
    folder.chmod(0o1777)
    (folder / "ours").write_text("x")
    library = ctypes.CDLL(None)

    def leave() -> None:
        jail.become(user)
        (folder / "one" / "deep").mkdir(parents=True)
        (folder / "two").symlink_to(folder / "ours")
        assert library.shmget(0, ctypes.c_size_t(4096), 0o1600) >= 0

    def made_by_user() -> int:
        rows = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
        return sum(int(row.split()[9]) == user for row in rows)

    assert warden._can(leave) and len(list(folder.iterdir())) == 3 and made_by_user() == 1
    assert warden._can(lambda: jail.remove_what_is_left(user), say_why=True)
    assert [path.name for path in folder.iterdir()] == ["ours"] and made_by_user() == 0


def test_where_memory_ends_a_submission_is_killed_first() -> None:
    score = Path("/proc/self/oom_score_adj")

    def marked() -> None:
        jail.be_killed_first()
        assert int(score.read_text()) == 1000

    assert warden._can(marked) and int(score.read_text()) < 1000


@slow
def test_a_sandbox_goes_on_after_its_warden_was_killed(bench: Bench) -> None:
    if os.getuid():
        pytest.skip("one start more is for the machine that tests as root")
    bench.sandbox._warden.kill()
    (mark, *_) = bench.marks(our_files(bench.steps), steps=bench.steps[:1])
    assert set(mark.wrong.values()) == {"it brought down the process that ran it"}
    (mark, *_) = bench.marks(our_files(bench.steps), steps=bench.steps[:1])
    assert mark.wrong == {}


# ------------------------------------------------------------------------- as others would run it


def marked_by(*command: str, interpreter: str, user: int | None) -> dict[str, object]:
    done = subprocess.run(
        [*command, sys.executable, "-B", "-m", "tests.classroom.bench", interpreter],
        executable=None if command else interpreter,
        cwd=ROOT,
        env={"PATH": os.defpath, "OMP_NUM_THREADS": "1"},
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    assert found["count"] == len(HOSTILE) and found["wrong"] == []
    return found


@slow
def test_limits_alone_hold_for_a_user_who_is_not_root() -> None:
    user = None
    interpreter = sys.executable
    if os.getuid() == 0:
        user = 61234
        interpreter = readable_interpreter(user)
    found = marked_by(interpreter=interpreter, user=user)
    assert (found["namespaces"], found["user"]) == (False, None)
    assert "without another user" in str(found["not"])


@slow
def test_another_user_and_limits_hold_where_no_namespaces_are_allowed() -> None:
    """As in most containers: root, but without the right to make namespaces."""
    setpriv = shutil.which("setpriv")
    if os.getuid() or setpriv is None:
        pytest.skip("it takes root, and setpriv")
    rights = (setpriv, "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    found = marked_by(*rights, interpreter=sys.executable, user=None)
    assert found["namespaces"] is False and found["user"] in sandbox._USERS
    assert "no namespaces" in str(found["not"])


def readable_interpreter(user: int) -> str:
    """A program that runs this environment as another user; skips where there is none."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        with contextlib.suppress(OSError):
            done = subprocess.run(
                [sys.executable, "-c", "import torch, minbert"],
                executable=path,
                cwd=ROOT,
                user=user,
                group=user,
                extra_groups=[],
                capture_output=True,
                check=False,
            )
            if done.returncode == 0:
                return path
    pytest.skip("no Python here that another user may run")

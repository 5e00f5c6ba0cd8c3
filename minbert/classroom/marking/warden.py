"""A process that runs submissions, each step in a child of its own that is shut in.

It is started by sandbox.py and has the libraries loaded, so that a child costs a fork, and no
module of this package but itself and jail.py, so that a child finds no solution in its memory.
Jobs come on stdin: a line of JSON, then the step's inputs. For each an answer goes to stdout: a
line of JSON, then what the child has written. A child is trusted in nothing: what it writes is only
counted here.
"""

import importlib
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from minbert.classroom.marking import jail

LARGEST_ANSWER = 2**20  # bytes; a right one has a few thousand
TIME, SIZE = "time", "size"  # why a child was stopped
_STUDENT = "minbert.classroom.marking.attempt"  # of the submission's own tree
_ANSWER = 3  # the number of the file that a child answers into
_PACKAGE = Path(__file__).resolve().parents[2]


def main() -> None:
    """Answer jobs until stdin ends."""
    settings = json.loads(sys.argv[1])
    for name in settings["libraries"]:
        with suppress(ImportError):
            importlib.import_module(name)
    sys.path[:] = [path for path in sys.path if Path(path) != _PACKAGE.parent or _is_site(path)]
    os.umask(0o022)  # whatever the user's is: a child reads what this makes
    settings |= _rights(settings)
    _say({name: settings[name] for name in ("user", "namespaces")}, b"")
    while line := sys.stdin.buffer.readline():
        job = json.loads(line)
        inputs = sys.stdin.buffer.read(job["bytes"])
        # in a process of its own: else the next submission, a fork of this one, would find the
        # answer in memory that was freed
        if not _can(partial(_answer, job, inputs, settings), say_why=True):
            return  # what it has said may be cut


def _is_site(path: str) -> bool:
    """Whether libraries lie in the folder, and not a clone of this repository alone."""
    return Path(path).name in ("site-packages", "dist-packages")


def _say(head: dict[str, Any], content: bytes) -> None:
    line = json.dumps({**head, "bytes": len(content)}).encode() + b"\n"
    sys.stdout.buffer.write(line + content)
    sys.stdout.buffer.flush()


def _rights(settings: dict[str, Any]) -> dict[str, Any]:
    """The user that children can be, if any, and whether they can have namespaces besides."""
    user = settings["user"]
    if user is None:
        return {"user": None, "namespaces": False}

    def change() -> None:
        jail.become(user)
        for folder in filter(os.path.isdir, sys.path):
            os.listdir(folder)  # noqa: PTH208  that user may not enter a private folder

    def leave() -> None:
        jail.own_namespaces()
        _enter_root(settings, settings["root"])
        change()

    namespaces = _can(leave)
    return {"user": user if namespaces or _can(change) else None, "namespaces": namespaces}


def _can(attempt: Callable[[], object], *, say_why: bool = False) -> bool:
    """Whether a child of this process can do it, which leaves no trace here."""
    child = os.fork()
    if child == 0:
        try:
            attempt()
            os._exit(0)
        except BaseException:
            if say_why:
                traceback.print_exc()
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def _answer(job: dict[str, Any], inputs: bytes, settings: dict[str, Any]) -> None:
    jail.die_with_parent()
    jail.adopt_orphans()
    scratch = Path(tempfile.mkdtemp(dir=settings["scratch"]))
    if settings["user"] is not None:
        os.chown(scratch, settings["user"], settings["user"])
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            _shut_in(job, inputs, {**settings, "scratch": str(scratch)}, write)
        os._exit(1)
    os.close(write)
    why, status, found = _collect(child, read, job["seconds"])
    jail.kill_all_below(os.getpid(), child)
    os.close(read)
    with suppress(OSError, RecursionError):
        shutil.rmtree(scratch)
    if settings["user"] is not None and not settings["namespaces"]:
        _can(partial(jail.remove_what_is_left, settings["user"]))
    _say({"why": why, "status": status}, b"" if why else found)


def _collect(child: int, read: int, seconds: float) -> tuple[str, int | None, bytes]:
    """What a child writes until it ends; why it was stopped, if it was; its exit status."""
    found, status = bytearray(), None
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([read], [], [], min(left, 0.05))[0]:
            block = os.read(read, 2**16)
            if not block:
                return "", _status(child) if status is None else status, bytes(found)
            found += block
            if len(found) > LARGEST_ANSWER:
                return SIZE, status, b""
        elif status is None and (ended := os.waitpid(child, os.WNOHANG))[0]:
            status = os.waitstatus_to_exitcode(ended[1])
            jail.kill_all_below(os.getpid(), child)  # who else holds the pipe
    return TIME, status, b""


def _status(child: int) -> int | None:
    """The exit status of a child that has closed its pipe, and may have ended."""
    for _ in range(20):
        if (ended := os.waitpid(child, os.WNOHANG))[0]:
            return os.waitstatus_to_exitcode(ended[1])
        time.sleep(0.005)
    return None


# ------------------------------------------------------------------------------------- in the child


def _shut_in(job: dict[str, Any], inputs: bytes, settings: dict[str, Any], write: int) -> NoReturn:
    """Give up all that a submission must not have, then run the step."""
    os.setsid()
    jail.die_with_parent()
    jail.be_killed_first()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    os.dup2(write, _ANSWER)
    os.closerange(_ANSWER + 1, 2**16)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    space = jail.address_space() + job["memory"] * jail.MEGABYTE
    tasks = jail.tasks_of(os.getuid()) if settings["user"] is None else 0
    if settings["namespaces"]:
        jail.own_namespaces()
        _go_on_in_child()  # which is the first process of its namespace
        _enter_root(settings, job["tree"])
        _go_on_in_child()  # the first process ends with this one, and all others with it
    else:
        os.chdir(settings["scratch"])
    jail.limit(job["seconds"], space, tasks)
    jail.become(settings["user"])
    jail.die_with_parent()  # which is forgotten with the old user
    _run(job, inputs)


def _enter_root(settings: dict[str, Any], tree: str) -> None:
    folders = [sys.prefix, sys.base_prefix, *(p for p in sys.path if Path(p).exists()), tree]
    clone = _PACKAGE.parent
    covered = [_PACKAGE, *(clone / name for name in (".git", "build", "tests"))]
    covered += [Path(path) / _PACKAGE.name for path in sys.path]  # an installed copy beside a clone
    jail.enter_root(Path(settings["root"]), map(Path, folders), covered)


def _go_on_in_child() -> None:
    child = os.fork()
    if child:
        os.close(_ANSWER)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os._exit(code if code >= 0 else 128 - code)
    jail.die_with_parent()


def _run(job: dict[str, Any], inputs: bytes) -> NoReturn:
    """Run the step by the modules of the submission's tree, and answer."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "minbert"]:
        del sys.modules[name]
    os.environ.clear()
    os.environ["HOME"] = os.getcwd()  # noqa: PTH109  for libraries that keep something there
    sys.argv[:] = [""]
    sys.dont_write_bytecode = True
    sys.path.insert(0, job["tree"])
    attempt: Any = importlib.import_module(_STUDENT)
    content: bytes = attempt.attempt(job["step"], inputs)
    while content:
        content = content[os.write(_ANSWER, content) :]
    os._exit(0)

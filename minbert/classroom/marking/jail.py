"""What shuts a process in on Linux: namespaces, a root folder of its own, another user, limits.

It imports the standard library alone: a submission's process begins with what is loaded here, and
must find nothing of this package in its memory.
"""

import ctypes
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

MEGABYTE = 2**20
_FILE_MEGABYTES = 16  # the largest file, and the whole of the folder that can be written
_FOR_ALL = 0o005  # the rights to enter a folder and to read it, of any user
_PROCESSES = 8  # a submission may have more than one, as some libraries do
_FILES = 128  # open at a time

# from the headers of Linux: sched.h, mount.h, prctl.h
_NAMESPACES = 0x00020000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000  # NS UTS IPC PID NET
_READ_ONLY, _NO_SUID, _NO_DEVICES, _REMOUNT, _BIND, _ALL_PRIVATE = 1, 2, 4, 32, 4096, 0x44000
_NO_NEW_PRIVILEGES, _CHILD_SUBREAPER, _PARENT_DEATH_SIGNAL = 38, 36, 1

_REMOVE = 0  # ipc.h
_EVERYBODYS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  what is the user's there is removed
_SYSTEM = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/urandom")


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def adopt_orphans() -> None:
    """Become the parent of whatever processes below this one lose theirs, so that all are found."""
    _prctl(_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Let the system kill this process when its parent dies."""
    _prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def be_killed_first() -> None:
    """Let the system, where its memory ends, kill this process and those below it first."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _call("prctl", option, value, 0, 0, 0)


def kill_all_below(process: int, group: int) -> None:
    """Kill every process below this one, however fast they multiply, and reap its children.

    `group` is a process group among them: all that can be found where there is no /proc.
    """
    _kill(os.killpg, group)
    while below := _below(process):
        for number in below:
            _kill(os.kill, number)
        time.sleep(0.002)
        _reap()
    _reap()


def _kill(kill: Callable[[int, int], None], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        kill(number, signal.SIGKILL)


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _below(process: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for number, fields in _stats():
        if fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(number)
    found = children.get(process, [])
    for number in found:  # which grows
        found += children.get(number, [])
    return found


def _stats() -> Iterable[tuple[int, list[str]]]:
    """Each process's number and its fields in /proc, from the state on."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            text = entry.read_text(encoding="utf-8", errors="replace")
            yield int(entry.parent.name), text.rpartition(")")[2].split()


# ------------------------------------------------------------------------------------- namespaces


def own_namespaces() -> None:
    """Leave the machine's mounts, network and processes: the next child is the first process.

    Raises OSError where the kernel does not allow it, as in most containers.
    """
    _call("unshare", _NAMESPACES)
    _mount("none", "/", None, _ALL_PRIVATE)


def enter_root(root: Path, folders: Iterable[Path], covered: Iterable[Path]) -> None:
    """Make `root` the root folder: these folders, read-only, and a small /tmp that can be written.

    `covered` are empty there, wherever they lie. Raises OSError.
    """
    _mount("none", str(root), "tmpfs", _NO_SUID, f"size={_FILE_MEGABYTES}m,mode=755")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    shown = _outermost([*map(Path, _SYSTEM), *folders])
    for path in shown:
        _show(path, root)
    for path in covered:
        if path.is_dir() and _outermost([*shown, path]) == shown:  # it lies within a shown one
            _mount("none", f"{root}{path}", "tmpfs", _READ_ONLY, "size=4k,mode=755")
    os.chroot(root)
    os.chdir("/tmp")  # noqa: S108  the root's own


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """The paths that exist, without those below another."""
    found: list[Path] = []
    for path in sorted({spelled for p in paths for spelled in (p, p.resolve())}):
        if path.exists() and not any(path.is_relative_to(other) for other in found):
            found.append(path)
    return found


def _show(path: Path, root: Path) -> None:
    """Let a folder, file or link appear below `root` under its own name, read-only.

    A folder that its owner alone may enter, as `mktemp -d` makes them, appears as one for all.
    """
    place = Path(f"{root}{path}")
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    if path.is_symlink():
        place.symlink_to(path.readlink())
        return
    if path.is_dir() and path.stat().st_mode & _FOR_ALL != _FOR_ALL:
        place.mkdir(exist_ok=True, mode=0o755)
        for entry in path.iterdir():
            _show(entry, root)
        return
    if path.is_dir():
        place.mkdir(exist_ok=True)
    else:
        place.touch()
    _mount(str(path), str(place), None, _BIND)
    flags = _REMOUNT | _BIND | _READ_ONLY | _NO_SUID
    _mount("none", str(place), None, flags | (0 if path.parent.name == "dev" else _NO_DEVICES))


def _mount(source: str, place: str, kind: str | None, flags: int, options: str = "") -> None:
    given = (source, place, kind, options or None)
    source_, place_, kind_, options_ = (None if g is None else os.fsencode(g) for g in given)
    _call("mount", source_, place_, kind_, ctypes.c_ulong(flags), options_)


# ----------------------------------------------------------------------------------------- limits


def address_space() -> int:
    """The bytes of addresses that this process has now; 0 where nobody says."""
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return pages * resource.getpagesize()
    return 0


def tasks_of(user: int) -> int:
    """How many threads a user has on this machine."""
    total = 0
    for number, fields in _stats():
        with suppress(OSError):
            total += int(fields[17]) if Path(f"/proc/{number}").stat().st_uid == user else 0
    return total


def limit(seconds: int, address_bytes: int, tasks: int) -> None:
    """Limit what this process and those below it may use.

    They get `seconds` of CPU, `address_bytes` of addresses each, and a few processes more than the
    `tasks` that their user has.
    """
    limits = {
        resource.RLIMIT_CPU: seconds + 1,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: _FILE_MEGABYTES * MEGABYTE,
        resource.RLIMIT_NOFILE: _FILES,
        resource.RLIMIT_NPROC: tasks + _PROCESSES,
        resource.RLIMIT_AS: address_bytes,
    }
    for what, most in limits.items():
        hard = resource.getrlimit(what)[1]
        capped = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(ValueError, OSError):  # a system without this limit
            resource.setrlimit(what, (capped, capped))


def remove_what_is_left(user: int) -> None:
    """Become the user, and remove what its processes leave where it has no namespaces.

    That is shared memory of System V, which no limit counts, and files in folders that are for all.
    """
    table = Path("/proc/sysvipc/shm").read_text(encoding="utf-8").splitlines()[1:]
    become(user)
    for row in map(str.split, table):
        if int(row[9]) == user:  # who made it
            with suppress(OSError):
                _call("shmctl", int(row[1]), _REMOVE, None)
    for place in (entry for folder in _EVERYBODYS for entry in Path(folder).glob("*")):
        with suppress(OSError, RecursionError):
            if place.lstat().st_uid == user:
                shutil.rmtree(place) if place.is_dir() else place.unlink()


def become(user: int | None) -> None:
    """Be another user for good, without any group; no program can give rights back."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    _prctl(_NO_NEW_PRIVILEGES, 1)

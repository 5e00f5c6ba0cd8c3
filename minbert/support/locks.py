"""Locks on folders, so that processes that write to one folder know of each other.

The folder itself is locked, not a file in it: a lock leaves nothing behind, and the kernel gives it
back when its process ends, even by a kill.
"""

import contextlib
import errno
import functools
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import lock_descriptor

from minbert.support.console import log

# what network file systems answer that do not offer flock(), and a system that has no such call
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Give a handle of an existing folder for `lock()`; the end of the block frees the lock."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def try_lock(handle: int, *, wait: bool = False) -> bool | None:
    """Lock a folder by its handle, unless another handle has the lock; return whether it did.

    None stands for a file system without locks. With `wait` it returns once the folder is free; a
    signal handler that raises ends the wait. Raises OSError for any other fault.
    """
    try:
        return lock_descriptor(handle, blocking=wait)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None


def lock(handle: int, folder: Path, *, wait: bool) -> bool:
    """Do as `try_lock` does, but take a folder without locks for free, with one warning each."""
    locked = try_lock(handle, wait=wait)
    if locked is None:
        warn_of_no_locks(folder)
    return locked is not False


@functools.cache  # once a folder
def warn_of_no_locks(folder: Path) -> None:
    """Log that nothing keeps another process out of the folder."""
    log.warning(
        "%s: this file system has no locks; see to it that no other run uses the folder", folder
    )

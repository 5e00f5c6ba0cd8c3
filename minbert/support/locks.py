"""Locks on folders, so that processes which write to the same one know of each other."""

from __future__ import annotations

import errno
import fcntl
import functools
from pathlib import Path

from minbert.support.console import log

# what network file systems answer that do not offer flock()
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


def lock(handle: int, folder: Path, *, wait: bool) -> None:
    """Lock the open `folder` until its handle is closed; where there are no locks, warn and go on.

    Raises BlockingIOError where another process has it, unless it is to `wait` for that one.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _warn(folder, error.strerror)


@functools.cache  # once a folder
def _warn(folder: Path, reason: str) -> None:
    log.warning(
        "%s: this file system has no locks (%s); see to it that no other run uses the folder",
        folder,
        reason,
    )

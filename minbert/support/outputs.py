"""The refusal of an output that cannot be written, before the work begins and not after it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from minbert.support import durable_files
from minbert.support.errors import InputError


@contextlib.contextmanager
def refusing_unwritable(output: str) -> Iterator[None]:
    """Turn an OSError of the block, which looks at a future output, into InputError.

    `output` names it as the user did, by its flag or path: "OUTPUT: cannot be written (reason)".
    What an existing file may be replaced by differs from command to command, and stays with them.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror})") from error


def check_name(folder: Path, output: str) -> None:
    """Raise InputError where no tensors can be read or written below a folder of this name."""
    try:
        str(folder).encode()  # what reads and writes tensors takes no other name
    except UnicodeEncodeError as error:
        raise InputError(f"{output}: its name is no UTF-8; name another") from error


def check_new_folder(folder: Path) -> None:
    """Raise InputError unless `folder` can be made: an empty one that has a name may be there."""
    check_name(folder, str(folder))
    empty = folder.is_dir() and not any(folder.iterdir())
    if (folder.exists() or folder.is_symlink()) and not (empty and folder.name not in ("", "..")):
        raise InputError(f"{folder}: is there already; name a new folder")
    with refusing_unwritable(str(folder)):
        durable_files.check_writable(folder)

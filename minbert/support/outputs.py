"""The refusal of an output that cannot be written, before the work begins and not after it."""

import contextlib
from collections.abc import Iterator

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

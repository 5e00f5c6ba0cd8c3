"""Files that somebody else wrote, read within bounds: their bytes, their text, their JSON.

A file may be a pipe without end, 40 GB of nothing, or JSON of a million brackets. Each ends in one
line that names it, before much memory is taken.
"""

import contextlib
import json
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from minbert.support.errors import InputError

MEGABYTE = 2**20
_DEEPEST = 64  # brackets within brackets; the files that libraries write have fewer than ten
_DIGITS = 100  # of an integer: libraries write 31 for "no limit"


def read_bytes(path: Path, most: int = 16 * MEGABYTE) -> bytes:
    """The bytes of a file of at most `most` bytes. Raises InputError for anything else there."""
    try:
        with open(path, "rb", opener=_without_waiting) as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise InputError(f"{path}: cannot be read (it is no file, but a folder or device)")
            if found.st_size > most:
                raise _too_large(path, most)
            content = stream.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise InputError(f"{path}: cannot be read ({_reason(error)})") from error
    if len(content) > most:  # it grew, or did not tell its size
        raise _too_large(path, most)
    return content


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # else a pipe is waited for


def _too_large(path: Path, most: int) -> InputError:
    return InputError(f"{path}: cannot be read (larger than {most // MEGABYTE} MB)")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def read_text(path: Path, most: int = 16 * MEGABYTE) -> str:
    """A file's UTF-8 text, without the byte-order mark that some editors put in front."""
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"byte {error.start + 1}"
        raise InputError(f"{path}: cannot be read (not UTF-8 text at {where})") from error


def read_json(path: Path, most: int = 16 * MEGABYTE, *, finite: bool = True) -> Any:
    """The value of a JSON file.

    Raises InputError for what is no JSON, for brackets more than 64 deep and for integers of more
    than 100 digits. Numbers such as NaN and 1e400 are refused too unless `finite` is False: then
    the caller checks the numbers that it uses.
    """
    try:
        return parsed(read_text(path, most), finite=finite)
    except ValueError as error:
        raise InputError(f"{path}: not JSON that can be read ({error})") from error


def parsed(text: str | bytes, *, finite: bool = True) -> Any:
    """The value of a JSON text, within the bounds of `read_json`. Raises ValueError beyond them."""
    number = _finite if finite else float
    try:
        value = json.loads(text, parse_int=_integer, parse_float=number, parse_constant=number)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if _is_deeper(value, _DEEPEST):
        raise ValueError("nested too deeply")
    return value


def read_object(path: Path, most: int = 16 * MEGABYTE, *, finite: bool = True) -> dict[str, Any]:
    """The JSON object in a file, as `read_json` reads it. Raises InputError for another value."""
    value = read_json(path, most, finite=finite)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object {{...}}")
    return value


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no finite number")
    return number


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects within each other have more than so many levels."""
    level = [value]
    for _ in range(levels + 1):
        nested = [item for item in level if isinstance(item, dict | list)]
        level = [
            child
            for item in nested
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True


@contextlib.contextmanager
def unchanged(paths: Iterable[Path]) -> Iterator[Callable[[], None]]:
    """Raise InputError where a file is written while the block reads it and takes its hash.

    The same where a file cannot be looked at, for any reason but that it is gone. The block may
    call what it gets, before it keeps something of the files, to be told then.
    """
    before = {path: _mark(path) for path in paths}

    def check() -> None:
        for path, mark in before.items():
            if _mark(path) != mark:
                raise InputError(f"{path}: was changed while it was read; run the command again")

    yield check
    check()


def _mark(path: Path) -> tuple[int, ...] | None:
    """What differs after a file was written or replaced."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # a disk that fails has not changed the file
        raise InputError(f"{path}: cannot be read ({_reason(error)})") from error
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

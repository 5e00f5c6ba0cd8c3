"""Files in the place of a JSON file that nobody who means well would write."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path


def _text(content: str | bytes) -> Callable[[Path], object]:
    data = content.encode() if isinstance(content, str) else content
    return lambda path: path.write_bytes(data)


def _sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(40 * 2**30)


# each writes at a path where nothing is
HOSTILE_JSON: Mapping[str, Callable[[Path], object]] = {
    "nested": _text("[" * 10**5),
    "nested object": _text('{"a":' * 5000 + "0" + "}" * 5000),
    "5,000 digits": _text('{"a": ' + "9" * 5000 + "}"),
    "NaN": _text('{"a": NaN}'),
    "1e400": _text('{"a": 1e400}'),
    "list": _text("[1, 2]"),
    "number": _text("7"),
    "no JSON": _text("{'a': 1}"),
    "no UTF-8": _text(b'{"a": "\xff"}'),
    "empty": _text(""),
    "sparse": _sparse,
    "pipe": os.mkfifo,
    "loop": lambda path: path.symlink_to(path.name),
    "dangling": lambda path: path.symlink_to("nowhere"),
    "folder": lambda path: path.mkdir(),
}


def put(path: Path, kind: str) -> None:
    """Put a hostile file of the named kind at `path`, in place of what is there."""
    path.unlink(missing_ok=True)
    HOSTILE_JSON[kind](path)

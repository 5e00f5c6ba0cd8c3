"""Damage to files on disk: cut, flipped, missing, swapped, replaced by what is no such file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

Undo = Callable[[], None]


def _flip(path: Path, place: float, bit: int) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[int(place * (len(content) - 1))] ^= 1 << bit
    path.write_bytes(bytes(content))


def _cut(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def _fill(path: Path, place: float) -> None:
    """Zeros over a stretch, as a disk leaves that lost a block."""
    content = bytearray(path.read_bytes())
    start = int(place * len(content))
    stretch = content[start : start + 512]
    content[start : start + 512] = bytes(len(stretch))
    if any(stretch):
        path.write_bytes(bytes(content))
    else:
        path.write_bytes(bytes(content) + b"\0")


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _swap(path: Path, other: str) -> None:
    """Exchange two files or folders."""
    second, aside = path.parent / other, path.with_name("aside")
    path.rename(aside)
    second.rename(path)
    aside.rename(second)


def _copy(path: Path, other: str) -> None:
    """Put another file's content in its place."""
    shutil.copyfile(path.parent / other, path)


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", errors="surrogateescape"))


def _append(path: Path, text: str) -> None:
    _write(path, path.read_text(encoding="utf-8") + text)


def _replace(path: Path, old: str, new: str) -> None:
    """Replace a text within the file, which must be there."""
    content = path.read_text(encoding="utf-8")
    assert old in content, (path, old)
    _write(path, content.replace(old, new, 1))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _sparse(path: Path) -> None:
    """Forty gigabytes of nothing."""
    os.truncate(path, 40 * 2**30)


def _random(path: Path, size: int, seed: int) -> None:
    path.write_bytes(Random(seed).randbytes(size))


DAMAGES: Mapping[str, Callable[..., None]] = {
    "flip": _flip,
    "cut": _cut,
    "zeros": _fill,
    "remove": _remove,
    "swap": _swap,
    "copy": _copy,
    "write": _write,
    "append": _append,
    "replace": _replace,
    "folder": _folder,
    "pipe": _pipe,
    "loop": _loop,
    "sparse": _sparse,
    "random": _random,
}


def damage(path: Path, how: str, details: Mapping[str, Any], attic: Path) -> Undo:
    """Damage a file or folder; the function that is returned puts back what was there.

    It keeps a copy in `attic`. Of two things that are swapped it puts back the first alone.
    """
    kept = attic / path.name
    if path.is_dir():
        shutil.copytree(path, kept)
    else:
        shutil.copy2(path, kept)
    DAMAGES[how](path, **details)

    def undo() -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        kept.rename(path)

    return undo

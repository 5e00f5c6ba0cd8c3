"""The files that hold an encoder's tensors, opened without trust in them.

A folder has one file, or an index and the shards that it names. What a file says of its tensors
is known, and checked, before memory is taken for one of them.
"""

import contextlib
import functools
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from minbert.support import untrusted
from minbert.support.device import out_of_memory
from minbert.support.errors import InputError, RunError

FORMATS = ("model.safetensors", "pytorch_model.bin")  # the older one is read and never written
INDEX = ".index.json"
MAIN_FILES = tuple(name + kind for name in FORMATS for kind in ("", INDEX))  # the first counts


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: its shape, the bytes that it claims, and how to read it.

    `read` gives a copy in fp32, which no longer depends on the file.
    """

    shape: torch.Size
    is_floating_point: bool
    nbytes: int
    read: Callable[[], Tensor]


def main_file(folder: Path) -> Path:
    """The file of the tensors, or the index of several. Raises InputError where there is none."""
    for name in MAIN_FILES:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: lacks {FORMATS[0]} (or {FORMATS[1]})")


def files_of(folder: Path) -> list[Path]:
    """The main file and, where it is an index, the shards. Raises InputError for a missing one."""
    main = main_file(folder)
    if not main.name.endswith(INDEX):
        return [main]
    names = shards_in(main, main.name)
    # Path's is_file raises on a long name
    if missing := [name for name in names if not os.path.isfile(folder / name)]:  # noqa: PTH113
        raise InputError(f"{folder}: lacks {some(missing)}, which {main.name} names")
    return [main, *(folder / name for name in names)]


def shards_in(path: Path, name: str) -> list[str]:
    """The files that the index at `path`, by its `name` in a folder, says the tensors lie in.

    Raises InputError where it cannot be read, or names other files than tensors beside it.
    """
    placed = untrusted.read_object(path).get("weight_map")
    names = list(placed.values()) if isinstance(placed, dict) else []
    kind = Path(name.removesuffix(INDEX)).suffix
    shard = re.compile(rf"[^./\\\0][^/\\\0]*{re.escape(kind)}")  # in this folder, and not hidden
    if not names or not all(isinstance(n, str) and shard.fullmatch(n) for n in names):
        raise InputError(f"{path}: its weight_map does not name files of this folder")
    return sorted(set(names))


def some(names: list[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" * (len(names) > most))


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Mapping[str, Stored]]:
    """The tensors of all files by their names there. Raises InputError for a damaged file."""
    tensors: dict[str, Stored] = {}
    with contextlib.ExitStack() as stack:
        for path in files_of(folder):
            if path.name.endswith(INDEX):
                continue
            with _reading(path):
                found = _pickled(path) if path.suffix == ".bin" else _safe(path, stack)
            if twice := sorted(tensors.keys() & found.keys()):
                raise InputError(f"{path}: {twice[0]} stands in another shard too")
            tensors |= found
        yield tensors


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever the readers raise, which is anything at a damaged file, into one line."""
    try:
        yield
    except (InputError, RunError):
        raise
    except Exception as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        if out_of_memory(error):
            raise RunError(f"{path}: too little memory to read it ({first_line})") from error
        raise InputError(f"{path}: damaged or not a weights file ({first_line})") from error


def _safe(path: Path, stack: contextlib.ExitStack) -> dict[str, Stored]:
    """The tensors of a safetensors file. The library checks that none overlap or lie beyond it."""
    file = stack.enter_context(safe_open(path, "pt"))

    def read(name: str) -> Tensor:
        with _reading(path):  # the file is mapped: without a copy, what is later written shows
            return file.get_tensor(name).to(torch.float32, copy=True)

    facts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  no mapping
    return {
        name: Stored(
            torch.Size(fact.get_shape()), "F" in fact.get_dtype(), 0, functools.partial(read, name)
        )
        for name, fact in facts.items()
    }


def _pickled(path: Path) -> dict[str, Stored]:
    """The tensors of an older file, which may claim more numbers than are stored for them."""
    # weights_only refuses code in the pickle; torch before 2.10 could be tricked all the same
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 10):
        raise InputError(f"{path}: needs torch 2.10 or newer to be opened safely")
    archive = zipfile.is_zipfile(path)
    if archive:
        _refuse_compressed(path)
    _tensors(path, torch.load(path, "meta", weights_only=True))
    content = _tensors(path, torch.load(path, "cpu", weights_only=True, mmap=archive))

    def read(tensor: Tensor) -> Tensor:
        with _reading(path):
            return tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)

    return {
        name: Stored(t.shape, t.is_floating_point(), t.nbytes, functools.partial(read, t))
        for name, t in content.items()
    }


def _refuse_compressed(path: Path) -> None:
    """Raise InputError where the archive unpacks to more than it holds. torch never packs."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    if packed or unpacked > path.stat().st_size:
        raise InputError(f"{path}: its archive is compressed, which torch.save never does")


def _tensors(path: Path, content: Any) -> dict[str, Tensor]:
    """The tensors of a file, none of which has more numbers than the file has bytes for."""
    entries = content.items() if isinstance(content, dict) else ()
    found = {n: t for n, t in entries if isinstance(n, str) and isinstance(t, Tensor)}
    if not found:
        raise InputError(f"{path}: expected a dictionary of tensors")
    most = path.stat().st_size
    for name, tensor in found.items():
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise InputError(f"{path}: {name} is sparse or quantized, not a plain tensor")
        if max(tensor.nbytes, tensor.untyped_storage().nbytes()) > most:
            raise InputError(f"{path}: {name} claims {tensor.nbytes} bytes, more than are in it")
    return found

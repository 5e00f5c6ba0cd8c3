"""Numbers and texts in temporary files, so that memory need not grow with what is read.

Small amounts stay in memory. The files have no name: they are gone when the process ends, however
it ends. Every method raises RunError where the disk has no room.
"""

import contextlib
import hashlib
import os
import tempfile
import weakref
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minbert.support.errors import RunError

N = TypeVar("N", bound=np.generic)
T = TypeVar("T")
_IN_MEMORY = 2**22  # bytes; more go to a file
_CHUNK = 4096  # values written or read at a time
_PART = 2**18  # digests compared at a time; more where _PASSES passes would not do
_PASSES = 64


class _Bytes:
    """A string of bytes that grows at its end."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        weakref.finalize(self, _close, self._file)
        self.size = 0

    def append(self, content: bytes) -> None:
        try:
            self._file.write(content)
        except OSError as error:
            raise _no_room(error) from error
        self.size += len(content)

    def read(self, start: int, stop: int) -> bytes:
        try:
            self._file.seek(start)  # seeking writes what is still buffered
            content = self._file.read(stop - start)
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise _no_room(error) from error
        return content

    def array(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """All bytes as numbers of `dtype`; a file's bytes are mapped, not read."""
        if self.size <= _IN_MEMORY:
            return np.frombuffer(self.read(0, self.size), dtype)
        self.read(0, 0)  # to put all into the file
        # an array, not a memmap: an index into a memmap makes another memmap, slowly
        return np.asarray(np.memmap(self._file, dtype, mode="r"))


class GrowingArray(Generic[N]):
    """An array of numbers that grows at its end."""

    def __init__(self, dtype: type[N] | np.dtype[N]) -> None:
        self._dtype, self._bytes = np.dtype(dtype), _Bytes()
        self._waiting: list[Any] = []

    def __len__(self) -> int:
        return self._bytes.size // self._dtype.itemsize + len(self._waiting)

    def append(self, value: Any) -> None:
        """Add a number."""
        self._waiting.append(value)
        if len(self._waiting) == _CHUNK:
            self._write_waiting()

    def extend(self, values: ArrayLike) -> None:
        """Add many numbers, (n,)."""
        self._write_waiting()
        self._bytes.append(np.ascontiguousarray(values, self._dtype).tobytes())

    def read(self, start: int, stop: int) -> NDArray[N]:
        """The numbers from `start` to `stop`, in memory."""
        self._write_waiting()
        size = self._dtype.itemsize
        return np.frombuffer(self._bytes.read(start * size, stop * size), self._dtype)

    def whole(self) -> NDArray[N]:
        """All numbers, read-only. If they are many, memory holds only the parts last looked at."""
        self._write_waiting()
        return self._bytes.array(self._dtype)

    def _write_waiting(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self.extend(waiting)


class Stored(Sequence[T]):
    """A sequence whose items are made anew from storage whenever they are asked for."""

    @abstractmethod
    def read(self, start: int, stop: int) -> list[T]:
        """The items from `start` to `stop`."""

    @abstractmethod
    def stop(self, start: int) -> int:
        """Where to stop reading from `start` on: some thousand items later, or some megabytes."""

    def __iter__(self) -> Iterator[T]:
        start = 0
        while start < len(self):
            stop = self.stop(start)
            yield from self.read(start, stop)
            start = stop

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        chosen = range(len(self))[index]
        if isinstance(chosen, range):
            return [self[position] for position in chosen]
        return self.read(chosen, chosen + 1)[0]


class StoredTexts(Stored[str]):
    """A sequence of texts, stored end to end in UTF-8."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes, self._ends = _Bytes(), GrowingArray(np.int64)
        self._ends.append(0)
        for text in texts:
            self.append(text)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, text: str) -> None:
        """Add a text."""
        self._bytes.append(text.encode())
        self._ends.append(self._bytes.size)

    def stop(self, start: int) -> int:
        """Where to stop reading from `start` on, after one text at least."""
        ends = self._ends.read(start, min(start + _CHUNK, len(self)) + 1)
        return start + max(1, int((ends - ends[0] <= _IN_MEMORY).sum()) - 1)

    def read(self, start: int, stop: int) -> list[str]:
        """The texts from `start` to `stop`."""
        ends = self._ends.read(start, stop + 1)
        content = self._bytes.read(ends[0], ends[-1])
        return [content[a:b].decode() for a, b in pairwise((ends - ends[0]).tolist())]


class Equals:
    """A search for equal keys among many, by 128-bit digests of the keys."""

    def __init__(self) -> None:
        self._digests = GrowingArray(np.dtype("V16"))

    def append(self, key: str) -> None:
        """Add a key. Raises RunError where the disk has no room."""
        self._digests.append(hashlib.blake2b(key.encode(), digest_size=16).digest())

    def first(self) -> NDArray[np.int64]:
        """The position of the first key equal to each key, (n,)."""
        first = np.empty(len(self._digests), dtype=np.int64)
        parts = min(len(first) // _PART + 1, _PASSES)
        for part in range(parts):  # equal keys leave the same remainder, and so share a part
            where, digests = self._part(part, parts)
            order = np.lexsort((digests[:, 1], digests[:, 0]))  # stable: the first comes first
            where, digests = where[order], digests[order]
            begins = np.ones(len(order), dtype=np.bool_)
            begins[1:] = (digests[1:] != digests[:-1]).any(axis=1)
            first[where] = where[begins][np.cumsum(begins) - 1]
        return first

    def _part(self, part: int, parts: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """The keys of a part: their positions, (m,), and their digests, (m, 2)."""
        where, digests = [np.zeros(0, np.int64)], [np.zeros((0, 2), np.uint64)]
        for start in range(0, len(self._digests), _PART):
            stop = min(start + _PART, len(self._digests))
            chunk = self._digests.read(start, stop).view(np.uint64).reshape(-1, 2)
            inside = np.flatnonzero(chunk[:, 0] % np.uint64(parts) == part)
            where.append(inside + start)
            digests.append(chunk[inside])
        return np.concatenate(where), np.concatenate(digests)


def _close(file: tempfile.SpooledTemporaryFile[bytes]) -> None:
    with contextlib.suppress(OSError):  # bytes that found no room find none now
        file.close()


def _no_room(error: OSError) -> RunError:
    place = tempfile.tempdir or "temporary files"
    return RunError(
        f"{place}: cannot hold what is read ({error.strerror}); make room there, or name another "
        "folder in TMPDIR"
    )

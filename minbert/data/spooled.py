"""Numbers and texts in temporary files, so that memory need not grow with what is read.

What is small stays in memory. The files have no name: they are gone with the process, however it
ends.
"""

from __future__ import annotations

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
_IN_MEMORY = 2**22  # bytes, beyond which they go to a file
_CHUNK = 4096  # values written or read at a time
_PART = 2**18  # digests compared at a time, or more: they are looked through in _PASSES at most
_PASSES = 64


class _Bytes:
    """Bytes added at the end."""

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
            self._file.seek(start)  # which writes what is still buffered
            content = self._file.read(stop - start)
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise _no_room(error) from error
        return content

    def array(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """All as numbers; what is in a file is mapped."""
        if self.size <= _IN_MEMORY:
            return np.frombuffer(self.read(0, self.size), dtype)
        self.read(0, 0)  # so that all is in the file
        # not as a memmap: picking from one makes another, slowly
        return np.asarray(np.memmap(self._file, dtype, mode="r"))


class GrowingArray(Generic[N]):
    """Numbers added at the end, to be read when all are there.

    Every method raises RunError where the disk has no room.
    """

    def __init__(self, dtype: type[N] | np.dtype[N]) -> None:
        self._dtype, self._bytes = np.dtype(dtype), _Bytes()
        self._waiting: list[Any] = []

    def __len__(self) -> int:
        return self._bytes.size // self._dtype.itemsize + len(self._waiting)

    def append(self, value: Any) -> None:
        """Add one."""
        self._waiting.append(value)
        if len(self._waiting) == _CHUNK:
            self._write_waiting()

    def extend(self, values: ArrayLike) -> None:
        """Add many, (n,)."""
        self._write_waiting()
        self._bytes.append(np.ascontiguousarray(values, self._dtype).tobytes())

    def read(self, start: int, stop: int) -> NDArray[N]:
        """Those from `start` to `stop`, in memory."""
        self._write_waiting()
        size = self._dtype.itemsize
        return np.frombuffer(self._bytes.read(start * size, stop * size), self._dtype)

    def whole(self) -> NDArray[N]:
        """All of them, read-only. Of many, memory holds only what was last looked at."""
        self._write_waiting()
        return self._bytes.array(self._dtype)

    def _write_waiting(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self.extend(waiting)


class Stored(Sequence[T]):
    """Things made anew from storage whenever they are asked for.

    Every method raises RunError where the disk has no room.
    """

    @abstractmethod
    def read(self, start: int, stop: int) -> list[T]:
        """Those from `start` to `stop`."""

    @abstractmethod
    def stop(self, start: int) -> int:
        """Where to stop reading from `start` on: some thousand things later, or some megabytes."""

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
            return [self[one] for one in chosen]
        return self.read(chosen, chosen + 1)[0]


class StoredTexts(Stored[str]):
    """Texts end to end in UTF-8."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes, self._ends = _Bytes(), GrowingArray(np.int64)
        self._ends.append(0)
        for text in texts:
            self.append(text)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, text: str) -> None:
        """Add one."""
        self._bytes.append(text.encode())
        self._ends.append(self._bytes.size)

    def stop(self, start: int) -> int:
        """Where to stop reading from `start` on, after one text at least."""
        ends = self._ends.read(start, min(start + _CHUNK, len(self)) + 1)
        return start + max(1, int((ends - ends[0] <= _IN_MEMORY).sum()) - 1)

    def read(self, start: int, stop: int) -> list[str]:
        """Those from `start` to `stop`."""
        ends = self._ends.read(start, stop + 1)
        content = self._bytes.read(ends[0], ends[-1])
        return [content[a:b].decode() for a, b in pairwise((ends - ends[0]).tolist())]


class Equals:
    """Which of many keys are equal, by 128-bit digests of them."""

    def __init__(self) -> None:
        self._digests = GrowingArray(np.dtype("V16"))

    def append(self, key: str) -> None:
        """Add one. Raises RunError where the disk has no room."""
        self._digests.append(hashlib.blake2b(key.encode(), digest_size=16).digest())

    def first(self) -> NDArray[np.int64]:
        """For every key the position of the first that equals it, (n,).

        They are compared in parts, of those whose digests leave the same remainder.
        """
        first = np.empty(len(self._digests), dtype=np.int64)
        parts = min(len(first) // _PART + 1, _PASSES)
        for part in range(parts):
            where, digests = self._part(part, parts)
            order = np.lexsort((digests[:, 1], digests[:, 0]))  # stable: the first comes first
            where, digests = where[order], digests[order]
            begins = np.ones(len(order), dtype=np.bool_)
            begins[1:] = (digests[1:] != digests[:-1]).any(axis=1)
            first[where] = where[begins][np.cumsum(begins) - 1]
        return first

    def _part(self, part: int, parts: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """The keys of one part: where they stand, (m,), and their digests, (m, 2)."""
        where, digests = [np.zeros(0, np.int64)], [np.zeros((0, 2), np.uint64)]
        for start in range(0, len(self._digests), _PART):
            stop = min(start + _PART, len(self._digests))
            own = self._digests.read(start, stop).view(np.uint64).reshape(-1, 2)
            inside = np.flatnonzero(own[:, 0] % np.uint64(parts) == part)
            where.append(inside + start)
            digests.append(own[inside])
        return np.concatenate(where), np.concatenate(digests)


def _close(file: tempfile.SpooledTemporaryFile[bytes]) -> None:
    with contextlib.suppress(OSError):  # what found no room finds none now
        file.close()


def _no_room(error: OSError) -> RunError:
    place = tempfile.tempdir or "temporary files"
    return RunError(
        f"{place}: cannot hold what is read ({error.strerror}); make room there, or name another "
        "folder in TMPDIR"
    )

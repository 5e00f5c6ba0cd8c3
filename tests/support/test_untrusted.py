"""Files that others wrote: what is read, and what ends in one line before memory is taken."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from minbert.support import untrusted
from minbert.support.errors import InputError


def refusal(path: Path, **settings: Any) -> str:
    """The one line with which a JSON file is refused, which names it."""
    with pytest.raises(InputError) as refused:
        untrusted.read_object(path, **settings)
    message = str(refused.value)
    assert "\n" not in message and str(path) in message and len(message) < 700
    return message


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "a.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_what_libraries_write_is_read(tmp_path: Path) -> None:
    kept = {"a": [1, 2.5, None, True, "é"], "most": 10**30, "deep": {"b": {"c": [[]]}}}
    assert untrusted.read_object(written(tmp_path, json.dumps(kept))) == kept
    assert untrusted.read_object(written(tmp_path, b"\xef\xbb\xbf{}")) == {}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e999"])
def test_numbers_without_end_are_refused_or_left_to_the_caller(tmp_path: Path, number: str) -> None:
    path = written(tmp_path, f'{{"a": {number}}}')
    assert "no finite number" in refusal(path)
    assert not math.isfinite(untrusted.read_object(path, finite=False)["a"])


@pytest.mark.parametrize("digits", [101, 5000, 100_000])
@pytest.mark.parametrize("finite", [True, False])
def test_a_number_of_many_digits(tmp_path: Path, digits: int, finite: bool) -> None:
    assert "digits" in refusal(written(tmp_path, f'{{"a": {"9" * digits}}}'), finite=finite)


@pytest.mark.parametrize("pair", ["[]", ("{'a':", "}")])
@pytest.mark.parametrize("depth", [80, 900, 200_000])
def test_brackets_within_brackets(tmp_path: Path, pair: Any, depth: int) -> None:
    begin, end = pair
    text = f'{{"a": {begin * depth}0{end * depth}}}'.replace("'", '"')
    assert "nested too deeply" in refusal(written(tmp_path, text))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"null", b"3", b'"x"', b"\xff{}", b'{"a": 1', b"{'a': 1}"]
)
def test_what_is_no_object(tmp_path: Path, content: bytes) -> None:
    refusal(written(tmp_path, content))


def test_the_size_decides_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.json"
    with path.open("wb") as stream:
        stream.truncate(40 * 2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "larger than 16 MB" in refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024  # kilobytes
    path = written(tmp_path, json.dumps("x" * 100))
    assert untrusted.read_bytes(path, 102) and "larger" in refusal(path, most=101)


def test_what_is_there_but_no_file(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "loop", tmp_path / "pipe", tmp_path, tmp_path / ("x" * 300)):
        assert "cannot be read" in refusal(path)
    for device in ("/dev/zero", "/dev/full"):
        assert "cannot be read" in refusal(Path(device))
    assert "no file" in refusal(tmp_path / "pipe")
    assert "cannot be read" in refusal(Path("with\0null"))


def test_what_is_refused_is_closed(tmp_path: Path) -> None:
    opened = Path("/proc/self/fd")
    if not opened.is_dir():
        pytest.skip("no /proc here")
    os.mkfifo(tmp_path / "pipe")
    before = len(list(opened.iterdir()))
    for _ in range(5):
        for path in (tmp_path, tmp_path / "pipe", tmp_path / "absent"):
            refusal(path)
    assert len(list(opened.iterdir())) == before


def test_a_file_that_does_not_tell_its_size(tmp_path: Path) -> None:
    """Files of the system say that they are empty; what they hold counts."""
    system = Path("/proc/self/maps")
    if not system.exists():
        pytest.skip("no /proc here")
    assert untrusted.read_bytes(system)
    with pytest.raises(InputError, match="larger"):
        untrusted.read_bytes(system, 50)


@pytest.mark.parametrize("change", ["write", "append", "replace", "remove", "appear"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, change: str) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_text("before")
    os.utime(path, ns=(10**18, 10**18))
    if change == "appear":
        path.unlink()
    changed = pytest.raises(InputError, match="was changed while it was read")
    with changed, untrusted.unchanged([path, other]):
        if change in ("write", "appear"):
            path.write_text("beyond")
        elif change == "append":
            os.truncate(path, 7)
        elif change == "replace":
            other.write_text("before")
            os.utime(other, ns=(10**18, 10**18))
            other.rename(path)
        else:
            path.unlink()


def test_files_that_stay_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with untrusted.unchanged([tmp_path / "a", tmp_path / "absent"]):
        (tmp_path / "a").read_text()
        (tmp_path / "other").write_text("y")


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_a_file_that_cannot_be_looked_at_was_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "a"
    path.write_text("x")

    def fail(self: Path) -> None:
        raise OSError(code, os.strerror(code), str(self))

    with (
        pytest.raises(InputError, match=os.strerror(code)),
        untrusted.unchanged([path]),
        monkeypatch.context() as patched,
    ):
        patched.setattr(Path, "stat", fail)
        untrusted._mark(path)

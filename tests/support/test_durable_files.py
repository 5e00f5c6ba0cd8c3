"""Durable files: whole or absent whatever happens."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from minbert.support import durable_files
from minbert.support.durable_files import (
    new_folder,
    replacing,
    sha256_of,
    write_json,
    write_text,
)
from tests.helpers import rest_slow


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_sha256(tmp_path: Path) -> None:
    path = tmp_path / "x"
    content = bytes(range(256)) * 5000  # more than one read buffer
    path.write_bytes(content)
    assert sha256_of(path) == hashlib.sha256(content).hexdigest()


def test_replacing_takes_the_place_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    with replacing(path) as draft:
        assert draft.parent == path.parent  # the same disk, so a rename is atomic
        draft.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new" and names(path.parent) == ["file"]


def test_replacing_keeps_the_old_content_on_an_exception(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyError), replacing(path) as draft:
        draft.write_text("half of the n")
        raise KeyError
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


def test_replacing_without_a_draft_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == "old"


def test_new_folder_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "checkpoint"
    with new_folder(path) as draft:
        (draft / "one").write_text("1")
        (draft / "two").write_text("2")
        assert not path.exists()
    assert names(path) == ["one", "two"] and names(path.parent) == ["checkpoint"]


def test_new_folder_leaves_nothing_on_an_exception(tmp_path: Path) -> None:
    with pytest.raises(KeyError), new_folder(tmp_path / "checkpoint") as draft:
        (draft / "one").write_text("1")
        raise KeyError
    assert names(tmp_path) == []


def test_new_folder_never_replaces_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.mkdir()
    (path / "precious").write_text("old")
    with pytest.raises(OSError), new_folder(path) as draft:
        (draft / "one").write_text("1")
    assert names(tmp_path) == ["checkpoint"] and names(path) == ["precious"]


def test_new_folder_ignores_a_dead_draft(tmp_path: Path) -> None:
    """What a killed process of the same number left behind is not mixed in."""
    with new_folder(tmp_path / "a") as draft:
        name = draft.name.replace("a", "b", 1)
        (tmp_path / name).mkdir()
        (tmp_path / name / "stale").write_text("")
    with new_folder(tmp_path / "b") as draft:
        assert names(draft) == []
        (draft / "fresh").write_text("")
    assert names(tmp_path / "b") == ["fresh"]


def test_text_is_utf8_with_its_own_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "é\n中\r\nlast")
    assert (tmp_path / "x").read_bytes() == "é\n中\r\nlast".encode()


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None], "b": {"c": "é"}, "tiny": 5e-324}
    write_json(tmp_path / "x.json", value)
    assert json.loads((tmp_path / "x.json").read_text()) == value
    assert (tmp_path / "x.json").read_text().endswith("\n")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_has_no_spelling_for_what_is_not_finite(tmp_path: Path, number: float) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"score": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"score": number})
    assert json.loads(path.read_text()) == {"score": 1} and names(tmp_path) == ["x.json"]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_several_texts_are_replaced_all_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """A disk that is full when the third file is flushed leaves the first two as they were."""
    paths = [tmp_path / f"{name}.txt" for name in "abc"]
    durable_files.write_texts(dict.fromkeys(paths, "old"))
    left, sync = [failing], durable_files._sync

    def full(path: Path) -> None:
        if left[0] == 0:
            raise OSError(122, "quota exceeded")
        left[0] -= 1
        sync(path)

    monkeypatch.setattr(durable_files, "_sync", full)
    with pytest.raises(OSError, match="quota"):
        durable_files.write_texts(dict.fromkeys(paths, "new"))
    assert [path.read_text() for path in paths] == ["old"] * 3
    assert sorted(tmp_path.iterdir()) == paths


def test_drafts_of_dead_processes_are_removed_and_no_others(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    path = tmp_path / "out[1].csv"
    ours = durable_files.draft_of(path).name
    *_, token, machine, process, _ = ours.split(".")
    names = {
        ours.replace(process, str(dead.pid)): True,
        ours.replace(token, "0a1b2c3d").replace(process, str(dead.pid)): True,
        ours: False,
        ours.replace(machine, "0a1b2c3d").replace(process, str(dead.pid)): False,  # elsewhere
        ours.replace("[1]", "1").replace(process, str(dead.pid)): False,
        f".out[1].csv.notes.{machine}.mine.tmp": False,
        ".out[1].csv.notes.tmp": False,
        "out[1].csv": False,
    }
    for name in names:
        (tmp_path / name).touch()
    durable_files.remove_dead_drafts(path)
    assert {name: not (tmp_path / name).exists() for name in names} == names


def test_a_folders_draft_of_a_dead_process_is_removed_by_the_next(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ours = durable_files.draft_of(tmp_path / "made").name
    left = tmp_path / ours.replace(f".{os.getpid()}.", f".{dead.pid}.")
    (left / "deep").mkdir(parents=True)
    with new_folder(tmp_path / "made") as draft:
        (draft / "x").touch()
    assert names(tmp_path) == ["made"]


def at_operation(number: int, act: Callable[[], None]) -> None:
    """Let `act` run in place of the `number`th operation on files from now on, in this process."""
    left = itertools.count(-number)

    def counting(operation: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **settings: Any) -> Any:
            if next(left) == -1:
                act()
            return operation(*arguments, **settings)

        return counted

    for owner, names in ((Path, ("write_text", "unlink", "replace")), (os, ("fsync",))):
        for name in names:
            setattr(owner, name, counting(getattr(owner, name)))


def fail_with(number: int) -> None:
    raise OSError(number, os.strerror(number))


HARMS = {
    "kill": partial(os._exit, 77),
    "full disk": partial(fail_with, errno.ENOSPC),
    "disk error": partial(fail_with, errno.EIO),
}


@pytest.mark.parametrize("harm", rest_slow(1, HARMS))
def test_old_and_new_files_never_stand_side_by_side(tmp_path: Path, harm: str) -> None:
    """At every operation on files a process is killed or fails; then the next one tidies up."""
    paths = [tmp_path / folder / f"{name}.csv" for folder in "ab" for name in "xyz"]

    def write_new(number: int) -> None:
        at_operation(number, HARMS[harm])
        try:
            durable_files.write_texts(dict.fromkeys(paths, "new"))
        except OSError:
            os._exit(77)
        os._exit(0)

    seen, code = set(), 77
    for number in itertools.count(1):
        durable_files.write_texts(dict.fromkeys(paths, "old"))
        found = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert sorted(found) == paths  # no draft of the earlier rounds
        process = get_context("fork").Process(target=write_new, args=(number,))
        process.start()
        process.join()
        code = process.exitcode
        kinds = {path.read_text() for path in paths if path.exists()}
        assert len(kinds) <= 1, (number, kinds)
        seen |= kinds
        if code == 0:
            break
        assert code == 77
    assert number > 30 and seen == {"old", "new"}


def test_one_file_is_never_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.csv"
    write_text(path, "old")
    replace = Path.replace

    def checked(draft: Path, target: Path) -> Path:
        assert target.read_text() == "old"
        return replace(draft, target)

    monkeypatch.setattr(Path, "replace", checked)
    write_text(path, "new")
    assert path.read_text() == "new"


def test_what_cannot_be_written_is_known_beforehand(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.csv"
    durable_files.check_writable(path)
    durable_files.check_writable(tmp_path / "a" / "b" / "c" / "out.csv")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        durable_files.check_writable(tmp_path / "file" / "out.csv")


def test_a_new_folder_is_on_disk_in_the_folder_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a power cut takes the whole run: its folder's name was never flushed."""
    flushed: list[Path] = []
    monkeypatch.setattr(durable_files, "_sync", flushed.append)
    durable_files.make_folder(tmp_path / "a" / "b" / "c")
    assert flushed == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    flushed.clear()
    durable_files.make_folder(tmp_path / "a" / "b" / "c")
    assert flushed == []
    durable_files.write_text(tmp_path / "a" / "d" / "file", "x")
    assert flushed[0] == tmp_path / "a"

"""Claims: one holder at a time, and none that outlives its process."""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from minbert.support import claims
from minbert.support.claims import (
    STALE,
    TAKEN,
    ClaimLost,
    Owner,
    created,
    created_anywhere,
    is_free,
    take,
)
from minbert.support.errors import InputError
from tests.hostile_files import HOSTILE_JSON, put

ELSEWHERE = Owner("another machine", 1, "1")
FORK = get_context("fork")  # what a holder needs is imported
PATIENCE = 120  # seconds, with a machine that is busy


def hold(folder: Path, parent: int | None = None) -> BaseProcess:
    """A process that keeps a claim."""
    held = FORK.Event()
    process = FORK.Process(target=_hold, args=(folder, parent or os.getpid(), held))
    process.start()
    assert held.wait(PATIENCE)
    return process


def _hold(folder: Path, parent: int, held: Event) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # an earlier test may have left a handler
    claim = take(folder)
    assert claim is not None
    with claim.kept(parent):
        held.set()
        time.sleep(2 * PATIENCE)


def claimed(folder: Path, owner: Owner, number: int = 1, age: float = 0.0) -> Path:
    """A claim made by hand, touched `age` seconds ago."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{number:04d}.json"
    path.write_text(json.dumps(dataclasses.asdict(owner)))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_claim_is_held_until_it_is_given_back(tmp_path: Path) -> None:
    claim = take(tmp_path)
    assert claim is not None
    assert not is_free(tmp_path)
    assert take(tmp_path) is None
    claim.give_back()
    assert is_free(tmp_path)
    following = take(tmp_path)
    assert following is not None
    assert following.holds()
    assert not claim.holds()


def test_a_killed_holder_is_followed_at_once(tmp_path: Path) -> None:
    process = hold(tmp_path)
    assert take(tmp_path) is None
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now: its code is unasked
    assert take(tmp_path) is not None
    process.join()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
def test_a_holder_is_followed_only_when_its_last_thread_has_ended(tmp_path: Path) -> None:
    """A killed process is a zombie already while threads of it may still hold locks and files."""
    # a new interpreter: in a fork of this one, whatever tests have loaded may hold the thread's end
    process = get_context("spawn").Process(target=_leave_a_thread, args=(tmp_path,))
    process.start()
    stat = Path(f"/proc/{process.pid}/stat")
    until = time.monotonic() + 20
    while ") Z " not in stat.read_text() and time.monotonic() < until:
        time.sleep(0.01)
    assert ") Z " in stat.read_text()
    assert not is_free(tmp_path)
    process.kill()
    process.join()
    assert is_free(tmp_path)


def _leave_a_thread(folder: Path) -> None:
    assert take(folder) is not None
    Thread(target=time.sleep, args=(60,)).start()
    ctypes.CDLL(None).pthread_exit(None)


def test_a_later_process_with_the_same_number_is_another(tmp_path: Path) -> None:
    claimed(tmp_path, dataclasses.replace(Owner.this(), started="1"))
    assert is_free(tmp_path)


def test_the_claim_of_another_machine_holds_while_it_is_touched(tmp_path: Path) -> None:
    claimed(tmp_path, ELSEWHERE, age=STALE - 30)
    assert take(tmp_path) is None
    claimed(tmp_path, ELSEWHERE, age=STALE + 30)
    assert take(tmp_path) is not None


def test_a_damaged_claim_is_like_that_of_another_machine(tmp_path: Path) -> None:
    path = claimed(tmp_path, ELSEWHERE)
    path.write_text("{")
    assert not is_free(tmp_path)
    os.utime(path, (time.time() - STALE - 30,) * 2)
    assert is_free(tmp_path)


def test_who_finds_a_higher_claim_ends(tmp_path: Path) -> None:
    """As after a pause so long that another has taken over. Its runner must not call it a fault."""
    process = hold(tmp_path)
    claimed(tmp_path, ELSEWHERE, number=2)
    process.join(PATIENCE)
    assert process.exitcode == TAKEN


def test_a_listing_that_fails_or_is_empty_does_not_end_the_touches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a file server that is away for a moment."""
    claim = take(tmp_path)
    assert claim is not None
    answers, look = [OSError(errno.ESTALE, "stale"), None] * 3, claims._highest

    def highest(folder: Path) -> Path | None:
        answer = answers.pop() if answers else look(folder)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(claims, "_highest", highest)
    monkeypatch.setattr(claims, "_LOOK", 0.001)
    monkeypatch.setattr(claims, "BEAT", 0.0)
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with claim.kept(os.getppid()):
        until = time.monotonic() + PATIENCE
        while answers and time.monotonic() < until:
            time.sleep(0.01)
        os.utime(claim.path, (0, 0))
        while claim.path.stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
    assert not answers
    assert not ended
    assert claim.path.stat().st_mtime > 0


def test_what_cannot_be_listed_is_not_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert take(tmp_path) is not None

    def stale(_: Path) -> Iterator[Path]:
        raise OSError(errno.ESTALE, "stale")

    monkeypatch.setattr(Path, "iterdir", stale)
    with pytest.raises(OSError, match="stale"):
        is_free(tmp_path)


def test_a_lost_claim_is_noticed(tmp_path: Path) -> None:
    claim = take(tmp_path)
    assert claim is not None
    claim.check()
    claimed(tmp_path, ELSEWHERE, number=2)
    with pytest.raises(ClaimLost, match="another process has taken over"):
        claim.check()


def test_an_orphan_is_asked_to_stop(tmp_path: Path) -> None:
    process = hold(tmp_path, parent=1)
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGTERM
    assert is_free(tmp_path)


def _try(folder: Path) -> bool:
    return take(folder) is not None


def test_one_of_many_gets_what_a_dead_process_held(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, FORK) as pool:
        for trial in range(30):
            folder = tmp_path / str(trial)
            claimed(folder, ELSEWHERE, age=STALE + 30)
            assert sum(pool.map(_try, [folder] * 4)) == 1


def test_a_claim_made_while_the_one_before_is_judged_is_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed(tmp_path, ELSEWHERE, age=STALE + 30)
    judge = claims._is_over

    def slowly(claim: Path) -> bool:
        over = judge(claim)
        monkeypatch.setattr(claims, "_is_over", judge)
        assert take(tmp_path) is not None  # another was quicker
        return over

    monkeypatch.setattr(claims, "_is_over", slowly)
    assert take(tmp_path) is None


def test_where_no_claim_can_be_made_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(InputError, match=r"0001.json: no claim can be made here .no hard links"):
        take(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("link", [errno.EPERM, None])
def test_a_claim_without_hard_links_is_one_too(
    link: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(link, "no hard links")

    if link is not None:
        monkeypatch.setattr(os, "link", refuse)
    claim = take(tmp_path, created_anywhere)
    assert claim is not None and claim.holds()
    assert take(tmp_path, created_anywhere) is None
    assert not created_anywhere(claim.path, "another")
    assert "another" not in claim.path.read_text()
    claim.give_back()
    assert take(tmp_path, created_anywhere) is not None


def test_what_is_created_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "once.json"
    assert created(path, "first")
    assert not created(path, "second")
    assert path.read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["once.json"]


def test_of_two_with_the_same_process_number_one_creates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in two containers: threads, which have written both drafts before either makes a link."""
    together, link = Barrier(2), os.link

    def slowly(draft: Path, path: Path) -> None:
        together.wait(PATIENCE)
        try:
            link(draft, path)
        finally:
            together.wait(PATIENCE)

    monkeypatch.setattr(os, "link", slowly)
    path, texts = tmp_path / "once.json", ["one", "other"]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(created, [path] * 2, texts))
    assert sorted(made) == [False, True]
    assert path.read_text() == texts[made.index(True)]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
def test_an_owner_knows_its_start() -> None:
    assert Owner.this().started.isdecimal()
    assert Owner.this().is_dead() is False
    assert ELSEWHERE.is_dead() is None


@pytest.mark.parametrize("kind", HOSTILE_JSON)
def test_a_claim_that_is_no_claim_counts_as_another_machines(tmp_path: Path, kind: str) -> None:
    """Without an owner that can be asked, its age decides."""
    put(tmp_path / "0001.json", kind)
    assert take(tmp_path) is None and not claims.is_free(tmp_path)
    old = time.time() - STALE - 30
    os.utime(tmp_path / "0001.json", (old, old), follow_symlinks=False)
    claim = take(tmp_path)
    assert claim is not None and claim.path.name == "0002.json"


@pytest.mark.parametrize(
    "owner", [{}, {"machine": 1}, {"process": "x"}, {"process": 10**50}, {"process": [1]}, {"a": 1}]
)
def test_an_owner_of_wrong_values_is_no_error(tmp_path: Path, owner: dict[str, Any]) -> None:
    full = dataclasses.asdict(Owner.this())
    values = full | owner if owner.keys() <= full.keys() and owner else owner
    (tmp_path / "0001.json").write_text(json.dumps(values))
    take(tmp_path)

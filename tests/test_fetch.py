"""One verified download, against a server that does what servers and networks do wrong."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest

from minbert import fetch as fetching
from minbert.fetch import Expected, alone_in, fetch, open_client, partial_of
from minbert.retries import Patience, Unreachable
from minbert.runtime import RunError, Stopped
from tests import faulty_server as faulty
from tests.faulty_server import Behaviour, Exchange, Server, blob_sha1, closed_port, serving

CONTENT = Random(0).randbytes(200_000)
PATH = "/data/file.csv"
SOON = Patience(
    connect=2.0, silence=0.2, window=0.25, least=2048, tries=3, pause=0.001, longest_pause=0.05
)
PATIENT = replace(SOON, silence=5, window=5)
WHOLE = Expected(blob_sha1(CONTENT), len(CONTENT))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving({PATH: CONTENT}) as running:
        yield running


@functools.cache
def client(patience: Patience = SOON) -> httpx2.Client:
    """One for all tests: 50 ms each would add up."""
    return open_client(patience)


def get(
    server: Server, target: Path, expected: Expected = WHOLE, patience: Patience = SOON, **more: Any
) -> None:
    fetch(client(patience), server.url + PATH, target, expected, patience, **more)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def offsets(server: Server) -> list[int]:
    return [offset for _, offset in server.requests]


# -------------------------------------------------------------------------------------- the hash


def test_the_hash_is_gits(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"hello\n")  # `echo hello | git hash-object --stdin`
    assert Expected("ce013625030ba8dba906f756967f9e9ca394464a").holds(path)
    assert Expected("ce013625030ba8dba906f756967f9e9ca394464a", 6).holds(path)
    assert not Expected("ce013625030ba8dba906f756967f9e9ca394464a", 7).holds(path)
    assert Expected(hashlib.sha256(b"hello\n").hexdigest()).holds(path)
    assert not Expected("0" * 40).holds(path)
    assert not Expected("0" * 64).holds(path)
    assert not Expected("0" * 64).holds(tmp_path / "absent")
    assert not Expected("0" * 64).holds(tmp_path)


# ------------------------------------------------------------------------------ when all is well


def test_a_good_server_gives_the_file_and_nothing_else(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "file.csv"
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert names(target.parent) == ["file.csv"]
    assert offsets(server) == [0]


def test_a_file_that_is_there_is_not_fetched(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.csv"
    target.write_bytes(CONTENT)
    get(server, target)
    assert server.requests == []


def test_headers_go_along_but_not_to_another_host(server: Server, tmp_path: Path) -> None:
    with serving({PATH: CONTENT}) as other:
        server.faults[PATH] = [faulty.redirect(other.url + PATH)]
        get(server, tmp_path / "file.csv", headers={"authorization": "Bearer secret"})
        assert server.seen_headers[0]["authorization"] == "Bearer secret"
        assert "authorization" not in other.seen_headers[0]
    assert (tmp_path / "file.csv").read_bytes() == CONTENT


@pytest.mark.parametrize("size", [None, len(CONTENT)])
@pytest.mark.parametrize("kept", [1, 77_777, len(CONTENT) - 1])
def test_a_partial_file_is_gone_on_from(
    server: Server, tmp_path: Path, kept: int, size: int | None
) -> None:
    target = tmp_path / "file.csv"
    partial_of(target).write_bytes(CONTENT[:kept])
    get(server, target, Expected(WHOLE.digest, size))
    assert target.read_bytes() == CONTENT
    assert offsets(server) == [kept]
    assert names(tmp_path) == ["file.csv"]


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_partial_file_that_is_whole_needs_no_server(tmp_path: Path, size: int | None) -> None:
    """A process that was killed between the last byte and the rename."""
    target = tmp_path / "file.csv"
    partial_of(target).write_bytes(CONTENT)
    fetch(client(), closed_port(), target, Expected(WHOLE.digest, size), SOON)
    assert target.read_bytes() == CONTENT
    assert names(tmp_path) == ["file.csv"]


@pytest.mark.parametrize(
    "leftover", [b"x" * 5000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1), CONTENT + b"x"]
)
@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_partial_file_of_something_else_costs_a_restart(
    server: Server, tmp_path: Path, leftover: bytes, size: int | None
) -> None:
    target = tmp_path / "file.csv"
    partial_of(target).write_bytes(leftover)
    get(server, target, Expected(WHOLE.digest, size))
    assert target.read_bytes() == CONTENT
    assert offsets(server)[-1] == 0
    assert names(tmp_path) == ["file.csv"]


# ----------------------------------------------------------------- one fault, then a good answer

MENDED: dict[str, Behaviour] = {
    "truncate": faulty.truncate(0.4),
    "truncate at once": faulty.truncate(0.0),
    "reset": faulty.reset(0.4),
    "stall": faulty.stall(0.4),
    "stall before the body": faulty.stall(0.0),
    "mute": faulty.mute,
    "drip": faulty.drip,
    "corrupt": faulty.corrupt(0.3),
    "wrong range": faulty.wrong_range,
    "no content range": faulty.no_content_range,
    "ignore range": faulty.ignore_range,
    "short length": faulty.short_length,
    "long length": faulty.long_length,
    "endless": faulty.endless,
    "cut, unannounced": faulty.cut_unannounced(0.5),
    "page": faulty.page,
    "disguised page": faulty.disguised_page,
    "compressed": faulty.compressed,
    "nonsense": faulty.nonsense,
    "hang up": faulty.hang_up,
    "500": faulty.status("500 Internal Server Error"),
    "503": faulty.status("503 Service Unavailable", Retry_After="0"),
    "429": faulty.status("429 Too Many Requests", Retry_After="1"),
    "408": faulty.status("408 Request Timeout"),
    "416": faulty.status("416 Range Not Satisfiable"),
    "dead redirect": faulty.redirect("http://127.0.0.1:9/x"),
}


@pytest.mark.parametrize("kept", [0, 50_000])
@pytest.mark.parametrize("name", MENDED)
def test_a_passing_fault_is_mended(server: Server, tmp_path: Path, name: str, kept: int) -> None:
    target = tmp_path / "file.csv"
    if kept:
        partial_of(target).write_bytes(CONTENT[:kept])
    server.faults[PATH] = [MENDED[name]]
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert names(tmp_path) == ["file.csv"]


def test_what_had_come_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.faults[PATH] = [faulty.truncate(0.5), faulty.reset(0.5), faulty.stall(0.5)]
    get(server, tmp_path / "file.csv")
    asked = offsets(server)
    assert asked[:2] == [0, 100_000] and asked == sorted(asked)
    assert len(set(asked)) >= 3


def test_progress_is_patiently_gone_on_from(server: Server, tmp_path: Path) -> None:
    """More faults than tries, each after enough bytes."""
    server.faults[PATH] = [faulty.truncate(0.3)] * 8
    get(server, tmp_path / "file.csv", patience=replace(SOON, tries=2))
    assert (tmp_path / "file.csv").read_bytes() == CONTENT


# ----------------------------------------------------------------------------- a fault that stays

Advice = tuple[Behaviour, str]
FINAL: dict[str, Advice] = {
    "truncate at once": (faulty.truncate(0.0), "given up after 3 tries in a row"),
    "stall": (faulty.stall(0.0), "went silent.*run the same command again"),
    "mute": (faulty.mute, "went silent"),
    "drip": (faulty.drip, r"only \d+ bytes came in 0 s.*goes on from the \d+ bytes"),
    "corrupt": (faulty.corrupt(0.5), "has git blob SHA-1 .*nothing of it was kept"),
    "always from the start": (faulty.cut_unannounced(0.5), "ended after 100,000 of 200,000 bytes"),
    "short length": (faulty.short_length, "100,000 bytes, not 200,000"),
    "long length": (faulty.long_length, "200,100 bytes, not 200,000"),
    "endless": (faulty.endless, "more than 200,000 bytes"),
    "page": (faulty.page, "a web page came instead of the file"),
    "compressed": (faulty.compressed, "compressed"),
    "nonsense": (faulty.nonsense, "the connection broke"),
    "hang up": (faulty.hang_up, "the connection broke"),
    "500": (faulty.status("500 Internal Server Error"), "answered 500 Internal Server Error"),
    "429": (faulty.status("429 Too Many Requests", Retry_After="99999"), "answered 429"),
    "401": (faulty.status("401 Unauthorized"), "answered 401.*login"),
    "403": (faulty.status("403 Forbidden"), "answered 403.*access is refused"),
    "404": (faulty.status("404 Not Found"), "answered 404.*not at this address"),
    "410": (faulty.status("410 Gone"), "answered 410"),
    "300": (faulty.status("300 Multiple Choices"), "answered 300"),
    "redirect loop": (faulty.redirect_loop, "not fetched.*redirects"),
    "redirect to a file": (faulty.redirect("file:///etc/passwd"), "not fetched"),
    "redirect to ftp": (faulty.redirect("ftp://127.0.0.1/x"), "not fetched"),
    "redirect to nonsense": (faulty.redirect("http://[::bad/"), "."),
    "dead redirect": (faulty.redirect("http://127.0.0.1:9/x"), "no connection"),
}


@pytest.mark.parametrize("name", FINAL)
def test_a_fault_that_stays_leaves_the_target_as_it_was(
    server: Server, tmp_path: Path, name: str
) -> None:
    target = tmp_path / "file.csv"
    target.write_bytes(b"an earlier file")
    behave, words = FINAL[name]
    server.always[PATH] = behave
    with pytest.raises(RunError, match=words) as raised:
        get(server, target)
    assert "\n" not in str(raised.value)
    assert "127.0.0.1" in str(raised.value) or "the address" in str(raised.value)
    assert target.read_bytes() == b"an earlier file"
    assert set(names(tmp_path)) <= {"file.csv", ".file.csv.part"}
    part = partial_of(target)
    assert not part.exists() or 0 < part.stat().st_size <= len(CONTENT)
    server.always.clear()
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert names(tmp_path) == ["file.csv"]


@pytest.mark.parametrize("behave", [faulty.wrong_range, faulty.no_content_range])
def test_another_part_than_was_asked_for_is_not_put_behind_the_partial_file(
    server: Server, tmp_path: Path, behave: Behaviour
) -> None:
    target = tmp_path / "file.csv"
    partial_of(target).write_bytes(CONTENT[:50_000])
    server.always[PATH] = behave
    with pytest.raises(RunError, match="asked from byte 50,000, the server sent"):
        get(server, target, patience=replace(SOON, tries=1))
    assert names(tmp_path) == []


def test_a_refused_connection_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"no connection .*refused.*check network"):
        fetch(client(), f"{closed_port()}/x", tmp_path / "x", WHOLE, SOON)
    assert names(tmp_path) == []


def test_an_unknown_host_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="no connection"):
        fetch(client(), "http://nowhere.invalid/x", tmp_path / "x", WHOLE, SOON)


def test_where_the_size_is_not_known_there_is_a_limit(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "LARGEST_UNKNOWN", 150_000)
    unknown = Expected(WHOLE.digest)
    with pytest.raises(RunError, match="more than 150,000 bytes"):
        get(server, tmp_path / "file.csv", unknown)
    server.always[PATH] = faulty.endless
    with pytest.raises(RunError, match="more than 150,000 bytes"):
        get(server, tmp_path / "file.csv", unknown)
    assert names(tmp_path) == []


def test_an_endless_server_that_restarts_is_given_up(server: Server, tmp_path: Path) -> None:
    """Progress that is thrown away again and again does not count as progress."""

    def cut(it: Exchange) -> None:
        it.offset = 0
        faulty.truncate(0.9)(it)

    server.always[PATH] = cut
    with pytest.raises(RunError, match="given up"):
        get(server, tmp_path / "file.csv")
    assert len(server.requests) == SOON.tries


# ------------------------------------------------------------------------------------- 100 faults


@dataclass(frozen=True)
class Scenario:
    """What is there before, what the server does, and for how many requests."""

    number: int
    kind: str
    behave: Behaviour | None  # None: the connection is refused
    stays: bool
    before: bytes | None
    leftover: bytes
    size: int | None


KINDS: dict[str, Callable[[Random], Behaviour | None]] = {
    "truncate": lambda draw: faulty.truncate(draw.random()),
    "reset": lambda draw: faulty.reset(draw.random()),
    "stall": lambda draw: faulty.stall(draw.random()),
    "drip": lambda draw: faulty.drip,
    "corrupt": lambda draw: faulty.corrupt(draw.random()),
    "redirect loop": lambda draw: faulty.redirect_loop,
    "redirect": lambda draw: faulty.redirect("/elsewhere"),
    "refuse": lambda draw: None,
    "short length": lambda draw: faulty.short_length,
    "long length": lambda draw: faulty.long_length,
    "500": lambda draw: faulty.status("500 Internal Server Error"),
    "ignore range": lambda draw: faulty.ignore_range,
    "wrong range": lambda draw: faulty.wrong_range,
    "endless": lambda draw: faulty.endless,
    "page": lambda draw: draw.choice([faulty.page, faulty.disguised_page]),
    "cut, unannounced": lambda draw: faulty.cut_unannounced(draw.random()),
    "404": lambda draw: faulty.status("404 Not Found"),
    "hang up": lambda draw: faulty.hang_up,
}


def scenario(number: int) -> Scenario:
    draw = Random(number)
    kind = list(KINDS)[number % len(KINDS)]
    kept = draw.randrange(1, len(CONTENT))
    return Scenario(
        number=number,
        kind=kind,
        behave=KINDS[kind](draw),
        stays=draw.random() < 0.5,
        before=draw.choice([None, None, b"an earlier file"]),
        leftover=draw.choice([b"", CONTENT[:kept], draw.randbytes(kept)]),
        size=draw.choice([None, len(CONTENT), len(CONTENT)]),
    )


def play(it: Scenario, folder: Path) -> list[str]:
    """Let the fault happen, then a good server; returns what went wrong that must not."""
    folder.mkdir()
    target, part = folder / "file.csv", partial_of(folder / "file.csv")
    if it.before is not None:
        target.write_bytes(it.before)
    if it.leftover:
        part.write_bytes(it.leftover)
    expected, wrong = Expected(WHOLE.digest, it.size), []
    with serving({PATH: CONTENT, "/elsewhere": CONTENT}) as server:
        if it.behave and it.stays:
            server.always[PATH] = it.behave
        elif it.behave:
            server.faults[PATH] = [it.behave]
        address = closed_port() if it.behave is None else server.url
        try:
            fetch(client(), address + PATH, target, expected, SOON)
            done = True
        except RunError:
            done = False
        there = target.read_bytes() if target.exists() else None
        if there != (CONTENT if done else it.before):
            wrong.append(f"target is {'wrong' if done else 'not as it was'}")
        if not set(names(folder)) <= {"file.csv", part.name} or (done and part.exists()):
            wrong.append(f"left behind: {names(folder)}")
        kept = part.read_bytes() if part.exists() else b""
        server.requests.clear()
        server.always.clear()
        server.faults.clear()
        fetch(client(PATIENT), server.url + PATH, target, expected, PATIENT)
        if target.read_bytes() != CONTENT or names(folder) != ["file.csv"]:
            wrong.append("a good server did not mend it")
        resumable = not done and kept and CONTENT.startswith(kept) and len(kept) < len(CONTENT)
        if resumable and offsets(server) != [len(kept)]:
            wrong.append(f"{len(kept)} good bytes were there, asked {offsets(server)}")
    return wrong


def test_a_hundred_faults_poison_no_file(tmp_path: Path) -> None:
    scenarios = [scenario(number) for number in range(100)]
    assert {it.kind for it in scenarios} == KINDS.keys()
    with ThreadPoolExecutor(8) as pool:  # they mostly wait
        outcomes = pool.map(lambda it: play(it, tmp_path / str(it.number)), scenarios)
        wrong = [told for told in zip(scenarios, outcomes, strict=True) if told[1]]
    assert wrong == []


# --------------------------------------------------------------------- disk, signals, neighbours


def test_a_full_disk_keeps_what_came_and_says_so(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file.csv"
    real = Path.open

    class Full:
        def __init__(self, stream: Any) -> None:
            self.stream, self.room = stream, 100_000

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *exc: object) -> None:
            self.stream.close()

        def write(self, data: bytes) -> None:
            self.stream.write(data[: self.room])
            self.room -= min(len(data), self.room)
            if self.room == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opened(path: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
        stream = real(path, mode, *more, **named)
        return Full(stream) if path.name.endswith(".part") and mode in ("ab", "wb") else stream

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(RunError, match=r"cannot be written .No space left.*make room"):
        get(server, target)
    assert names(tmp_path) == [".file.csv.part"]
    monkeypatch.undo()
    get(server, target)
    assert offsets(server) == [0, 100_000]
    assert target.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("a file is in the way")
    with pytest.raises(RunError, match="cannot be written"):
        get(server, tmp_path / "data" / "file.csv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_locked_is_an_error_of_one_line(server: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RunError, match=r"cannot be written .Permission denied.*rights"):
            get(server, tmp_path / "file.csv")
    finally:
        tmp_path.chmod(0o700)


def test_a_stop_keeps_the_partial_file_and_no_target(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.csv"

    def stop_in_the_middle(it: Exchange) -> None:
        it.send(it.start()[:120_000])
        it.server.closing.wait(0.1)
        os.kill(os.getpid(), signal.SIGINT)
        it.server.closing.wait(5)

    def raise_stopped(signum: int, _frame: object) -> None:
        raise Stopped(signum)

    signal.signal(signal.SIGINT, raise_stopped)
    server.faults[PATH] = [stop_in_the_middle]
    with pytest.raises(Stopped):
        get(server, target, patience=PATIENT)
    assert names(tmp_path) == [".file.csv.part"]
    assert partial_of(target).read_bytes() == CONTENT[:120_000]
    get(server, target)
    assert offsets(server) == [0, 120_000]
    assert target.read_bytes() == CONTENT


def test_two_at_once_fetch_it_once(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "file.csv"

    def slowly(it: Exchange) -> None:
        it.server.closing.wait(0.3)
        it.good()

    server.faults[PATH] = [slowly]
    with caplog.at_level("INFO", logger="minbert"), ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: get(server, target, patience=PATIENT), range(4)))
    assert len(server.requests) == 1
    assert "another download is at work there; waiting" in caplog.text
    assert target.read_bytes() == CONTENT
    assert names(tmp_path) == ["file.csv"]


def test_a_folder_is_given_back(tmp_path: Path) -> None:
    with pytest.raises(KeyError), alone_in(tmp_path / "new"):
        raise KeyError
    done = threading.Event()

    def hold() -> None:
        with alone_in(tmp_path / "new"):
            done.set()

    thread = threading.Thread(target=hold)
    thread.start()
    assert done.wait(5)
    thread.join()

"""One verified download, against a server that does what servers and networks do wrong."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from minbert.download import fetch as fetching
from minbert.download.fetch import Expected, fetch, partial_of
from minbert.download.retries import Unreachable
from minbert.support.errors import RunError
from tests.download import faulty_server as faulty
from tests.download.faulty_server import Behaviour, Exchange, Server, closed_port, serving
from tests.download.one_file import (
    CONTENT,
    HASTY,
    PATH,
    SOON,
    WHOLE,
    client,
    get,
    names,
    offsets,
    patience_with,
)

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


def test_a_good_server_gives_the_file_and_nothing_else(mirror: Server, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "file.csv"
    get(mirror, target)
    assert target.read_bytes() == CONTENT
    assert names(target.parent) == ["file.csv"]
    assert offsets(mirror) == [0]


def test_a_file_that_is_there_is_not_fetched(mirror: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.csv"
    target.write_bytes(CONTENT)
    get(mirror, target)
    assert mirror.requests == []


def test_headers_go_along_but_not_to_another_host(mirror: Server, tmp_path: Path) -> None:
    with serving({PATH: CONTENT}) as other:
        mirror.faults[PATH] = [faulty.redirect(other.url + PATH)]
        get(mirror, tmp_path / "file.csv", headers={"authorization": "Bearer secret"})
        assert mirror.seen_headers[0]["authorization"] == "Bearer secret"
        assert "authorization" not in other.seen_headers[0]
    assert (tmp_path / "file.csv").read_bytes() == CONTENT


@pytest.mark.parametrize("size", [None, len(CONTENT)])
@pytest.mark.parametrize("kept", [1, 77_777, len(CONTENT) - 1])
def test_a_partial_file_is_gone_on_from(
    mirror: Server, tmp_path: Path, kept: int, size: int | None
) -> None:
    target = tmp_path / "file.csv"
    partial_of(target).write_bytes(CONTENT[:kept])
    get(mirror, target, Expected(WHOLE.digest, size))
    assert target.read_bytes() == CONTENT
    assert offsets(mirror) == [kept]
    assert names(tmp_path) == ["file.csv"]


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_partial_file_that_is_whole_needs_no_server(tmp_path: Path, size: int | None) -> None:
    """A process that was killed between the last byte and the rename."""
    target = tmp_path / "file.csv"
    partial_of(target).write_bytes(CONTENT)
    fetch(client(), closed_port(), target, Expected(WHOLE.digest, size), SOON)
    assert target.read_bytes() == CONTENT
    assert names(tmp_path) == ["file.csv"]


@pytest.mark.parametrize("size", [None, 0])
def test_a_file_without_a_byte(tmp_path: Path, size: int | None) -> None:
    expected = Expected(faulty.blob_sha1(b""), size)
    with serving({"/empty": b""}) as server:
        fetch(client(), f"{server.url}/empty", tmp_path / "empty", expected, SOON)
    assert (tmp_path / "empty").read_bytes() == b""
    assert names(tmp_path) == ["empty"]


@pytest.mark.parametrize(
    "leftover", [b"x" * 5000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1), CONTENT + b"x"]
)
@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_partial_file_of_something_else_costs_a_restart(
    mirror: Server, tmp_path: Path, leftover: bytes, size: int | None
) -> None:
    target = tmp_path / "file.csv"
    partial_of(target).write_bytes(leftover)
    get(mirror, target, Expected(WHOLE.digest, size))
    assert target.read_bytes() == CONTENT
    assert offsets(mirror)[-1] == 0
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
    "drip of the head": faulty.drip_head,
    "for ever 102": faulty.informational,
    "length of 5,000 digits": faulty.many_digits("Content_Length"),
    "range of 5,000 digits": faulty.many_digits("Content_Range", "206 Partial Content"),
    "pause of 5,000 digits": faulty.many_digits("Retry_After", "503 Unavailable"),
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
def test_a_passing_fault_is_mended(mirror: Server, tmp_path: Path, name: str, kept: int) -> None:
    target = tmp_path / "file.csv"
    if kept:
        partial_of(target).write_bytes(CONTENT[:kept])
    mirror.faults[PATH] = [MENDED[name]]
    get(mirror, target, patience=patience_with(name, tries=20))
    assert target.read_bytes() == CONTENT
    assert names(tmp_path) == ["file.csv"]


def test_what_had_come_is_not_asked_for_again(mirror: Server, tmp_path: Path) -> None:
    mirror.faults[PATH] = [faulty.truncate(0.5), faulty.reset(0.5), faulty.stall(0.5)]
    get(mirror, tmp_path / "file.csv", patience=replace(HASTY, tries=20))
    asked = offsets(mirror)
    assert asked[:2] == [0, 100_000] and asked == sorted(asked)
    assert len(set(asked)) >= 3


def test_progress_is_patiently_gone_on_from(mirror: Server, tmp_path: Path) -> None:
    """More faults than tries, each after enough bytes."""
    mirror.faults[PATH] = [faulty.truncate(0.3)] * 8
    get(mirror, tmp_path / "file.csv", patience=replace(SOON, tries=2))
    assert (tmp_path / "file.csv").read_bytes() == CONTENT


# ----------------------------------------------------------------------------- a fault that stays

Advice = tuple[Behaviour, str]
FINAL: dict[str, Advice] = {
    "truncate at once": (faulty.truncate(0.0), "given up after 3 tries in a row"),
    "stall": (faulty.stall(0.0), "went silent.*run the same command again"),
    "mute": (faulty.mute, "went silent"),
    "drip": (faulty.drip, r"only \d+ bytes came in \d+ s.*goes on from the \d+ bytes"),
    "drip of the head": (faulty.drip_head, "no whole answer came in"),
    "for ever 102": (faulty.informational, "no whole answer came in"),
    "length of 5,000 digits": (faulty.many_digits("Content_Length"), "."),
    "range of 5,000 digits": (faulty.many_digits("Content_Range", "206 P"), "the server sent '"),
    "long reason": (faulty.status("500 " + "o" * 5000), "answered 500 oooo"),
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
    mirror: Server, tmp_path: Path, name: str
) -> None:
    target = tmp_path / "file.csv"
    target.write_bytes(b"an earlier file")
    behave, words = FINAL[name]
    mirror.always[PATH] = behave
    with pytest.raises(RunError, match=words) as raised:
        get(mirror, target, patience=patience_with(name))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500
    assert "127.0.0.1" in str(raised.value) or "the address" in str(raised.value)
    assert target.read_bytes() == b"an earlier file"
    assert set(names(tmp_path)) <= {"file.csv", ".file.csv.part"}
    part = partial_of(target)
    assert not part.exists() or 0 < part.stat().st_size <= len(CONTENT)
    mirror.always.clear()
    get(mirror, target)
    assert target.read_bytes() == CONTENT
    assert names(tmp_path) == ["file.csv"]


@pytest.mark.parametrize("behave", [faulty.wrong_range, faulty.no_content_range])
def test_another_part_than_was_asked_for_is_not_put_behind_the_partial_file(
    mirror: Server, tmp_path: Path, behave: Behaviour
) -> None:
    target = tmp_path / "file.csv"
    partial_of(target).write_bytes(CONTENT[:50_000])
    mirror.always[PATH] = behave
    with pytest.raises(RunError, match="asked from byte 50,000, the server sent"):
        get(mirror, target, patience=replace(SOON, tries=1))
    assert names(tmp_path) == []


def test_a_refused_connection_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"no connection .*refused.*check network"):
        fetch(client(), f"{closed_port()}/x", tmp_path / "x", WHOLE, SOON)
    assert names(tmp_path) == []


def test_an_unknown_host_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="no connection"):
        fetch(client(), "http://nowhere.invalid/x", tmp_path / "x", WHOLE, SOON)


def test_where_the_size_is_not_known_there_is_a_limit(
    mirror: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "LARGEST_UNKNOWN", 150_000)
    unknown = Expected(WHOLE.digest)
    with pytest.raises(RunError, match="more than 150,000 bytes"):
        get(mirror, tmp_path / "file.csv", unknown)
    mirror.always[PATH] = faulty.endless
    with pytest.raises(RunError, match="more than 150,000 bytes"):
        get(mirror, tmp_path / "file.csv", unknown)
    assert names(tmp_path) == []


def test_an_endless_server_that_restarts_is_given_up(mirror: Server, tmp_path: Path) -> None:
    """Progress that is thrown away again and again does not count as progress."""

    def cut(it: Exchange) -> None:
        it.offset = 0
        faulty.truncate(0.9)(it)

    mirror.always[PATH] = cut
    with pytest.raises(RunError, match="given up"):
        get(mirror, tmp_path / "file.csv")
    assert len(mirror.requests) == SOON.tries

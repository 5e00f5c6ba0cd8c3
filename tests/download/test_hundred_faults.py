"""A hundred downloads, each with a fault drawn for it: no poisoned file, nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from minbert.download.fetch import Expected, fetch, partial_of
from minbert.support.errors import RunError
from tests.download import faulty_server as faulty
from tests.download.faulty_server import Behaviour, closed_port, serving
from tests.download.one_file import (
    CONTENT,
    PATH,
    SOON,
    WHOLE,
    client,
    names,
    offsets,
    patience_with,
)


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
            patience = patience_with(it.kind)
            fetch(client(patience), address + PATH, target, expected, patience)
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
        fetch(client(), server.url + PATH, target, expected, SOON)
        if target.read_bytes() != CONTENT or names(folder) != ["file.csv"]:
            wrong.append("a good server did not mend it")
        resumable = not done and kept and CONTENT.startswith(kept) and len(kept) < len(CONTENT)
        if resumable and offsets(server) != [len(kept)]:
            wrong.append(f"{len(kept)} good bytes were there, asked {offsets(server)}")
    return wrong


@pytest.mark.slow
def test_a_hundred_faults_poison_no_file(tmp_path: Path) -> None:
    scenarios = [scenario(number) for number in range(100)]
    assert {it.kind for it in scenarios} == KINDS.keys()
    with ThreadPoolExecutor(8) as pool:  # they mostly wait
        outcomes = pool.map(lambda it: play(it, tmp_path / str(it.number)), scenarios)
        wrong = [told for told in zip(scenarios, outcomes, strict=True) if told[1]]
    assert wrong == []

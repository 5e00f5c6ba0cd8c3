"""One small file to fetch, from a server that is to be told how to behave."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from minbert.download.fetch import Expected, fetch, open_client
from minbert.download.http import http
from minbert.download.retries import Patience
from tests.download.faulty_server import Server, blob_sha1

CONTENT = Random(0).randbytes(200_000)
PATH = "/data/file.csv"
SOON = Patience(
    connect=5, silence=5, window=5, least=2048, tries=3, pause=0.001, longest_pause=0.05
)
HASTY = replace(SOON, connect=0.5, silence=0.2, window=0.25)  # for servers without an answer
ENDLESS = ("drip", "drip of the head", "for ever 102")  # each try waits for its whole patience
SILENT = ("stall", "stall before the body", "mute", *ENDLESS)
WHOLE = Expected(blob_sha1(CONTENT), len(CONTENT))


@functools.cache
def client(patience: Patience = SOON) -> http.Client:
    """One for all tests: 50 ms each would add up."""
    return open_client(patience)


def patience_with(fault: str, tries: int | None = None) -> Patience:
    """Short where a server is silent by design: a busy machine may keep a good one waiting."""
    tries = tries or (2 if fault in ENDLESS else SOON.tries)
    return replace(HASTY if fault in SILENT else SOON, tries=tries)


def get(
    server: Server, target: Path, expected: Expected = WHOLE, patience: Patience = SOON, **more: Any
) -> None:
    fetch(client(patience), server.url + PATH, target, expected, patience, **more)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def offsets(server: Server) -> list[int]:
    return [offset for _, offset in server.requests]

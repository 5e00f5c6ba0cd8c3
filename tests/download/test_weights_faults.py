"""Faults on the way of a published encoder: no half checkpoint, nothing fetched twice."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from minbert.download.encoders import fetch_weights
from minbert.encoder import hub
from minbert.encoder.hub import parse
from minbert.support.errors import RunError
from tests.download import faulty_server as faulty
from tests.download.faulty_server import COMMIT, Behaviour, Server
from tests.download.one_file import SOON, patience_with
from tests.download.our_hub import NAME, TENSORS, fetched, leftovers, repository

FAULTS: dict[str, Behaviour] = {
    "truncate": faulty.truncate(0.5),
    "reset": faulty.reset(0.9),
    "stall": faulty.stall(0.5),
    "drip": faulty.drip,
    "corrupt": faulty.corrupt(0.5),
    "endless": faulty.endless,
    "page": faulty.page,
    "disguised page": faulty.disguised_page,
    "404": faulty.status("404 Not Found"),
    "403": faulty.status("403 Forbidden"),
    "500": faulty.status("500 Oops"),
    "loop": faulty.redirect_loop,
    "dead redirect": faulty.redirect("http://127.0.0.1:9/x"),
}


@pytest.mark.parametrize("file", ["vocab.txt", TENSORS])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_leaves_no_half_checkpoint(
    server: Server, files: dict[str, bytes], name: str, file: str
) -> None:
    path = f"/storage/{file}" if file == TENSORS else f"/{NAME}/resolve/{COMMIT}/{file}"
    server.always[path] = FAULTS[name]
    with pytest.raises(RunError):
        fetch_weights(parse(NAME), patience_with(name, tries=2))
    assert hub.cached(parse(NAME)) is None
    assert hub.cached(parse(f"{NAME}@{COMMIT}")) is None
    blobs = [path for path in (repository() / "blobs").iterdir() if path.suffix != ".part"]
    for blob in blobs:  # what is there under a hash has that hash
        content = blob.read_bytes()
        assert blob.name in (hashlib.sha256(content).hexdigest(), faulty.blob_sha1(content))
    server.always.clear()
    fetch_weights(parse(NAME), SOON)
    folder = hub.cached(parse(NAME))
    assert folder is not None
    assert (folder / file).read_bytes() == files[file]
    assert leftovers() == []


def test_a_partial_file_is_gone_on_from(server: Server, files: dict[str, bytes]) -> None:
    half = len(files[TENSORS]) // 2
    server.faults[f"/storage/{TENSORS}"] = [faulty.truncate(0.5)]
    with pytest.raises(RunError, match=f"goes on from the {half:,} bytes"):
        fetch_weights(parse(NAME), replace(SOON, tries=1))
    server.requests.clear()
    fetch_weights(parse(NAME), SOON)
    assert (f"/storage/{TENSORS}", half) in server.requests
    assert fetched(server) == [TENSORS]


def test_two_at_once(server: Server) -> None:
    with ThreadPoolExecutor(2) as pool:
        lines = list(pool.map(lambda _: fetch_weights(parse(NAME), SOON), range(2)))
    assert lines[0] == lines[1]
    assert leftovers() == []

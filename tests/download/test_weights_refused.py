"""Published encoders that are none of ours, and hubs that do not answer as one: a line each."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from minbert.download.encoders import fetch_weights
from minbert.encoder import hub
from minbert.encoder.hub import parse
from minbert.support.errors import InputError, RunError
from tests.download import faulty_server as faulty
from tests.download.faulty_server import Behaviour, Exchange, Server, closed_port, publish
from tests.download.one_file import SOON, patience_with
from tests.download.our_hub import NAME, TENSORS, cache, fetched, point_hub_at

NOT_BERT = [
    ("config.json", "lacks config.json"),
    ("vocab.txt", "lacks vocab.txt"),
    (TENSORS, "lacks model.safetensors"),
]


@pytest.mark.parametrize(("gone", "words"), NOT_BERT)
def test_a_checkpoint_that_lacks_a_file_is_refused_before_any_is_fetched(
    server: Server, files: dict[str, bytes], gone: str, words: str
) -> None:
    files = {name: it for name, it in files.items() if name not in (gone, "pytorch_model.bin")}
    publish(server, NAME, files)
    with pytest.raises(InputError, match=f"^{NAME}: not in a layout that is read here: {words}"):
        fetch_weights(parse(NAME), SOON)
    assert fetched(server) == []
    assert not cache().exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (b'{"model_type": "albert"}', "model_type 'albert' is not implemented"),
        (b"{}", "lacks hidden_size"),
        (b"<html>", "not JSON"),
    ],
)
def test_another_architecture_is_refused_before_its_tensors_are_fetched(
    server: Server, files: dict[str, bytes], config: bytes, words: str
) -> None:
    publish(server, NAME, {**files, "config.json": config})
    with pytest.raises(
        InputError, match=rf"^{NAME}: not in a layout that is read here: config.json: {words}"
    ):
        fetch_weights(parse(NAME), SOON)
    assert fetched(server) == ["config.json"]
    assert hub.cached(parse(NAME)) is None


def endless_json(it: Exchange) -> None:
    it.head("200 OK", None, Content_Type="application/json")
    while True:  # until the client hangs up
        it.send(b'{"siblings": ["' + b"x" * 2**20)


def compressed_bomb(it: Exchange) -> None:
    """A megabyte that unpacks to a gigabyte."""
    packer = zlib.compressobj(wbits=31)
    first, again = (
        packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    body = first + again * 1023
    it.head("200 OK", len(body), Content_Encoding="gzip", Content_Type="application/json")
    it.send(body)


API = f"/api/models/{NAME}/revision/main"
LISTING: dict[str, tuple[Behaviour, type[Exception], str]] = {
    "mute": (faulty.mute, RunError, "went silent; given up after 3"),
    "drip": (faulty.drip, RunError, "no whole answer came in"),
    "drip of the head": (faulty.drip_head, RunError, "no whole answer came in.*; given up"),
    "for ever 102": (faulty.informational, RunError, "no whole answer came in"),
    "length of 5,000 digits": (faulty.many_digits("Content_Length"), RunError, "."),
    "number of 5,000 digits": (faulty.status("200 OK", b"9" * 5000), RunError, "makes no sense"),
    "nested": (faulty.status("200 OK", b"[" * 10**5), RunError, "makes no sense"),
    "NaN": (faulty.status("200 OK", b'{"sha": NaN}'), RunError, "makes no sense"),
    "1e400": (faulty.status("200 OK", b'{"size": 1e400}'), RunError, "makes no sense"),
    "no UTF-8": (faulty.status("200 OK", b'{"sha": "\xff"}'), RunError, "makes no sense"),
    "endless": (endless_json, RunError, "the hub's answer has no end"),
    "bomb": (compressed_bomb, RunError, "the hub's answer has no end"),
    "sha is a list": (faulty.status("200 OK", b'{"sha": [1]}'), RunError, "without a commit"),
    "hang up": (faulty.hang_up, RunError, "the connection broke"),
    "500": (faulty.status("500 Oops"), RunError, "the hub answered 500; given up"),
    "429": (faulty.status("429 Slow Down"), RunError, "the hub answered 429; given up"),
    "403": (faulty.status("403 Forbidden"), RunError, "the hub answered 403"),
    "page": (faulty.page, RunError, "makes no sense"),
    "cut": (faulty.truncate(0.5), RunError, "the connection broke"),
    "list": (faulty.status("200 OK", b"[]"), RunError, "makes no sense"),
    "empty": (faulty.status("200 OK", b'{"id": "x/y"}'), RunError, "without a commit"),
    "path": (
        faulty.status("200 OK", json.dumps({"id": "x", "sha": "../../../x"}).encode()),
        RunError,
        "without a commit",
    ),
    "gated": (
        faulty.status("403 Forbidden", X_Error_Code="GatedRepo"),
        InputError,
        "access on request.*hf auth login",
    ),
    "no revision": (
        faulty.status("404 Not Found", X_Error_Code="RevisionNotFound"),
        InputError,
        "has no revision main",
    ),
    "loop": (faulty.redirect_loop, RunError, "not fetched"),
}


@pytest.mark.parametrize("name", LISTING)
def test_a_hub_that_fails_is_one_line(server: Server, name: str) -> None:
    behave, kind, words = LISTING[name]
    server.always[API] = behave
    with pytest.raises(kind, match=words) as raised:
        fetch_weights(parse(NAME), patience_with(name))
    assert "\n" not in str(raised.value)
    assert not cache().exists()
    server.always.clear()
    server.faults[API] = [behave] if "given up" in words else []
    fetch_weights(parse(NAME), patience_with(name, tries=20))


@pytest.mark.parametrize("blob", ["../../../../etc/x", "", "g" * 40, None])
def test_a_blob_cannot_be_named_out_of_the_cache(server: Server, blob: str | None) -> None:
    facts = json.loads(server.files[API])
    facts["siblings"][0]["blobId"] = blob
    facts["siblings"][0].pop("lfs", None)
    server.files[API] = json.dumps(facts).encode()
    with pytest.raises(RunError, match="gave no hash and size"):
        fetch_weights(parse(NAME), SOON)


ODD: list[Any] = [None, 7, True, "x", [], {}, [[]], 10**90, -1, 1.5]


@pytest.mark.parametrize("place", ["siblings", "sibling", "rfilename", "size", "blobId", "lfs"])
def test_wrong_values_in_a_listing_are_one_line(server: Server, place: str) -> None:
    """A value may be of no matter: then the checkpoint comes whole."""
    good = server.files[API]
    for odd in ODD:
        facts = json.loads(good)
        if place == "siblings":
            facts["siblings"] = odd
        elif place == "sibling":
            facts["siblings"][0] = odd
        else:
            for file in facts["siblings"]:
                file[place] = odd
        server.files[API] = json.dumps(facts).encode()
        try:
            fetch_weights(parse(NAME), SOON)
        except (InputError, RunError) as error:
            assert "\n" not in str(error)
        else:
            assert place in ("lfs", "sibling") or (place, odd) == ("blobId", "x")


def test_an_unknown_name_is_one_line(server: Server) -> None:
    with pytest.raises(InputError, match=r"^no/body: the hub shows no such checkpoint"):
        fetch_weights(parse("no/body"), SOON)


def test_a_hub_out_of_reach_is_one_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    point_hub_at(monkeypatch, closed_port())
    with pytest.raises(RunError, match=r"no connection .*given up.*check network"):
        fetch_weights(parse(NAME), SOON)

"""Published encoders that are none of ours, and hubs that do not answer as one: a line each."""

from __future__ import annotations

import json

import pytest

from minbert.download.encoders import fetch_weights
from minbert.encoder import hub
from minbert.encoder.hub import parse
from minbert.support.errors import InputError, RunError
from tests.download import faulty_server as faulty
from tests.download.faulty_server import Behaviour, Server, closed_port, publish
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
    with pytest.raises(InputError, match=f"^{NAME}: not in BERT's layout: {words}"):
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
    with pytest.raises(InputError, match=rf"^{NAME}: not in BERT's layout: config.json: {words}"):
        fetch_weights(parse(NAME), SOON)
    assert fetched(server) == ["config.json"]
    assert hub.cached(parse(NAME)) is None


API = f"/api/models/{NAME}/revision/main"
LISTING: dict[str, tuple[Behaviour, type[Exception], str]] = {
    "mute": (faulty.mute, RunError, "went silent; given up after 3"),
    "drip": (faulty.drip, RunError, "no whole answer came in"),
    "drip of the head": (faulty.drip_head, RunError, "no whole answer came in.*; given up"),
    "for ever 102": (faulty.informational, RunError, "no whole answer came in"),
    "length of 5,000 digits": (faulty.many_digits("Content_Length"), RunError, "."),
    "number of 5,000 digits": (faulty.status("200 OK", b"9" * 5000), RunError, "makes no sense"),
    "nested": (faulty.status("200 OK", b"[" * 10**5), RunError, "makes no sense"),
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


def test_an_unknown_name_is_one_line(server: Server) -> None:
    with pytest.raises(InputError, match=r"^no/body: the hub shows no such checkpoint"):
        fetch_weights(parse("no/body"), SOON)


def test_a_hub_out_of_reach_is_one_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    point_hub_at(monkeypatch, closed_port())
    with pytest.raises(RunError, match=r"no connection .*given up.*check network"):
        fetch_weights(parse(NAME), SOON)

"""An HTTP server on 127.0.0.1 that serves a few files, well or badly, and a hub made of it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Exchange:
    """One request, and what can be answered to it."""

    def __init__(self, sock: socket.socket, server: Server, path: str, headers: Mapping[str, str]):
        self.sock, self.server, self.path, self.headers = sock, server, path, headers
        self.content = server.files.get(path, b"")
        match = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        self.offset = int(match[1]) if match else 0

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def head(self, status: str, length: int | None, **extra: str) -> None:
        lines = [f"HTTP/1.1 {status}", "Connection: close"]
        lines += [] if length is None else [f"Content-Length: {length}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in extra.items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    def start(self) -> bytes:
        """A good answer's head; returns the body that belongs to it."""
        whole = len(self.content)
        if self.offset:
            if self.offset >= whole:
                self.head("416 Range Not Satisfiable", 0, Content_Range=f"bytes */{whole}")
                return b""
            said = f"bytes {self.offset}-{whole - 1}/{whole}"
            self.head("206 Partial Content", whole - self.offset, Content_Range=said)
        else:
            self.head("200 OK", whole, Content_Type=self.server.type_of(self.path))
        return self.content[self.offset :]

    def good(self) -> None:
        if self.path not in self.server.files:
            self.head("404 Not Found", 0, **self.server.missing)
        elif (to := self.server.redirects.get(self.path)) is not None:
            self.head("302 Found", 0, Location=to)
        else:
            self.send(self.start())

    def reset(self) -> None:
        """Close so that the other side sees a reset, not an end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Behaviour = Callable[[Exchange], None]


class Server:
    """Serves `files`; the behaviours queued for a path, one a request, come before good answers."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.redirects: dict[str, str] = {}
        self.missing: dict[str, str] = {}  # headers of a 404
        self.faults: dict[str, list[Behaviour]] = {}
        self.always: dict[str, Behaviour] = {}
        self.requests: list[tuple[str, int]] = []  # path, first byte asked for
        self.seen_headers: list[Mapping[str, str]] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):  # the client may hang up whenever it likes
                    outer._answer(self.request)

        class Listener(socketserver.ThreadingTCPServer):
            daemon_threads, allow_reuse_address, request_queue_size = True, True, 64

        self._listener = Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._listener.server_address[1]}"
        poll = {"poll_interval": 0.02}
        self._thread = threading.Thread(target=self._listener.serve_forever, kwargs=poll)
        self._thread.start()

    def type_of(self, path: str) -> str:
        return "application/json" if path.startswith("/api/") else "text/plain; charset=utf-8"

    def _answer(self, sock: socket.socket) -> None:
        raw = b""
        while b"\r\n\r\n" not in raw:
            more = sock.recv(65536)
            if not more:
                return
            raw += more
        first, *lines = raw.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        path = first.split(" ")[1].partition("?")[0]
        exchange = Exchange(sock, self, path, headers)
        with self._lock:
            self.requests.append((path, exchange.offset))
            self.seen_headers.append(headers)
            queue = self.faults.get(path)
            behave = queue.pop(0) if queue else self.always.get(path, Exchange.good)
        behave(exchange)

    def close(self) -> None:
        self.closing.set()
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()


@contextlib.contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[Server]:
    """A server for the length of a block."""
    server = Server(files)
    try:
        yield server
    finally:
        server.close()


_BOUND = socket.socket()  # it never listens, and nobody else can take its port


@functools.cache
def closed_port() -> str:
    """An address at which every connection is refused."""
    _BOUND.bind(("127.0.0.1", 0))
    return f"http://127.0.0.1:{_BOUND.getsockname()[1]}"


# ------------------------------------------------------------------------------------ behaviours


def status(said: str, body: bytes = b"", **extra: str) -> Behaviour:
    def behave(it: Exchange) -> None:
        it.head(said, len(body), **extra)
        it.send(body)

    return behave


def truncate(share: float) -> Behaviour:
    """Close in the middle of the body that was announced."""

    def behave(it: Exchange) -> None:
        body = it.start()
        it.send(body[: int(len(body) * share)])

    return behave


def reset(share: float) -> Behaviour:
    def behave(it: Exchange) -> None:
        body = it.start()
        it.send(body[: int(len(body) * share)])
        it.reset()

    return behave


def stall(share: float, seconds: float = 5.0) -> Behaviour:
    """Send a part and then nothing, on an open connection."""

    def behave(it: Exchange) -> None:
        body = it.start()
        it.send(body[: int(len(body) * share)])
        it.server.closing.wait(seconds)

    return behave


def mute(it: Exchange) -> None:
    """Take the request and say nothing at all."""
    it.server.closing.wait(5.0)


def drip(it: Exchange) -> None:
    """A byte now and then: never silent for long, never done."""
    for byte in it.start():
        it.send(bytes([byte]))
        if it.server.closing.wait(0.02):
            return


def drip_head(it: Exchange) -> None:
    """A header line now and then, and never the last one."""
    it.send(b"HTTP/1.1 200 OK\r\n")
    while not it.server.closing.wait(0.02):
        it.send(b"X-More: to come\r\n")


def informational(it: Exchange) -> None:
    """An answer that says that an answer will come, for ever."""
    while not it.server.closing.wait(0.02):
        it.send(b"HTTP/1.1 102 Processing\r\n\r\n")


def many_digits(header: str, said: str = "200 OK") -> Behaviour:
    """A length that Python refuses to take for a number."""

    def behave(it: Exchange) -> None:
        value = {"Content_Range": f"bytes 0-{'9' * 5000}/{'9' * 5000}"}.get(header, "9" * 5000)
        it.head(said, None, **{header: value})
        it.send(it.content)

    return behave


def corrupt(share: float) -> Behaviour:
    """One bit of one byte is wrong."""

    def behave(it: Exchange) -> None:
        body = bytearray(it.start())
        if body:
            body[min(int(len(body) * share), len(body) - 1)] ^= 1
        it.send(bytes(body))

    return behave


def ignore_range(it: Exchange) -> None:
    it.offset = 0
    it.good()


def wrong_range(it: Exchange) -> None:
    """Another part of the file than was asked for."""
    start, whole = max(it.offset - 7, 0), len(it.content)
    it.head(
        "206 Partial Content", whole - start, Content_Range=f"bytes {start}-{whole - 1}/{whole}"
    )
    it.send(it.content[start:])


def no_content_range(it: Exchange) -> None:
    it.head("206 Partial Content", len(it.content))
    it.send(it.content)


def short_length(it: Exchange) -> None:
    """A Content-Length below the file's size."""
    it.head("200 OK", len(it.content) // 2)
    it.send(it.content)


def long_length(it: Exchange) -> None:
    it.head("200 OK", len(it.content) + 100)
    it.send(it.content)


def endless(it: Exchange) -> None:
    """More bytes than the file has, and no length announced."""
    it.head("200 OK", None)
    for _ in range(50):
        it.send(it.content + b"more")


def cut_unannounced(share: float) -> Behaviour:
    """No length announced, so that only size and hash can tell that the end is missing."""

    def behave(it: Exchange) -> None:
        it.head("200 OK", None)
        it.send(it.content[: int(len(it.content) * share)])

    return behave


def page(it: Exchange) -> None:
    """What a login page does: 200, and HTML."""
    body = b"<!DOCTYPE html><html><body>Please log in</body></html>"
    it.head("200 OK", len(body), Content_Type="text/html; charset=utf-8")
    it.send(body)


def disguised_page(it: Exchange) -> None:
    """A login page as plain text without a length."""
    it.head("200 OK", None, Content_Type="text/plain")
    it.send(b"<!DOCTYPE html><html><body>Please log in</body></html>")


def compressed(it: Exchange) -> None:
    it.head("200 OK", 20, Content_Encoding="gzip")
    it.send(b"\x1f\x8b" + b"\0" * 18)


def nonsense(it: Exchange) -> None:
    it.send(b"\0\1\2 this is not HTTP\r\n\r\n")


def hang_up(it: Exchange) -> None:
    it.sock.close()


def redirect_loop(it: Exchange) -> None:
    it.head("302 Found", 0, Location=it.path)


def redirect(to: str) -> Behaviour:
    def behave(it: Exchange) -> None:
        it.head("302 Found", 0, Location=to)

    return behave


# ------------------------------------------------------------------------------------- a hub


def blob_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sibling(name: str, content: bytes) -> dict[str, Any]:
    """What the hub says of a file: large ones have a SHA-256 beside git's hash of a pointer."""
    if not name.endswith((".safetensors", ".bin")):
        return {"rfilename": name, "size": len(content), "blobId": blob_sha1(content)}
    sha = hashlib.sha256(content).hexdigest()
    lfs = {"sha256": sha, "size": len(content), "pointerSize": 134}
    return {"rfilename": name, "size": len(content), "blobId": "f" * 40, "lfs": lfs}


def publish(
    server: Server,
    name: str,
    files: Mapping[str, bytes],
    commit: str = COMMIT,
    revisions: tuple[str, ...] = ("main",),
) -> None:
    """Serve a checkpoint as the hub does; tensors are redirected to another address."""
    facts = {
        "_id": "1",
        "id": name,
        "sha": commit,
        "siblings": [sibling(file, content) for file, content in files.items()],
    }
    for revision in (*revisions, commit):
        server.files[f"/api/models/{name}/revision/{revision}"] = json.dumps(facts).encode()
    for file, content in files.items():
        path = f"/{name}/resolve/{commit}/{file}"
        server.files[path] = content
        if file.endswith((".safetensors", ".bin")):
            server.files[f"/storage/{file}"] = content
            server.redirects[path] = f"{server.url}/storage/{file}"

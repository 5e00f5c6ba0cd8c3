"""One file over HTTP: whole and with the right hash, or not there.

What arrives is kept beside its place as `.NAME.part`. It takes NAME's place in one rename, after
the bytes on disk were found to have the expected hash. When a try fails the partial file stays, and
the next try, or the next process, asks for the rest of it.
"""

import contextlib
import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from minbert.download.http import http
from minbert.download.retries import Fault, NoConnection, Patience, Tries, answered_within
from minbert.support import durable_files
from minbert.support.console import ProgressBar, log
from minbert.support.errors import RunError
from minbert.support.locks import lock, opened

LARGEST_UNKNOWN = 64_000_000  # bytes; no file whose size is not known is larger
_MOST_REDIRECTS = 5
_NUMBER = "[0-9]{1,18}"  # a length; a longer one is none
_SHOWN = 80  # letters of what a server says that a message repeats


@dataclass(frozen=True)
class Expected:
    """The content that a file must have: its digest, and its size in bytes if that is known.

    A digest of 40 digits is git's SHA-1 of a blob, one of 64 is a SHA-256.
    """

    digest: str
    size: int | None = None

    @property
    def kind(self) -> str:
        """The name of the digest."""
        return "git blob SHA-1" if len(self.digest) == 40 else "SHA-256"

    def digest_of(self, path: Path) -> str:
        """Return the digest, of this kind, of the file at `path`."""
        if len(self.digest) == 64:
            return durable_files.sha256_of(path)
        # git puts "blob", the size and a zero byte before the content
        total = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: total).hexdigest()

    def holds(self, path: Path) -> bool:
        """Return whether there is a file at `path`, with these very bytes."""
        if not path.is_file() or self.size not in (None, path.stat().st_size):
            return False
        return self.digest_of(path) == self.digest


def partial_of(path: Path) -> Path:
    """Return where the bytes of an unfinished download of `path` are kept."""
    return path.with_name(f".{path.name}.part")


def open_client(patience: Patience) -> http.Client:
    """Return a client that follows a few redirects and waits no longer than `patience` says."""
    timeout = http.Timeout(patience.silence, connect=patience.connect)
    return http.Client(timeout=timeout, follow_redirects=True, max_redirects=_MOST_REDIRECTS)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder, made if need be, until the block ends; another process waits for it."""
    folder.mkdir(parents=True, exist_ok=True)
    with opened(folder) as handle:
        if not lock(handle, folder, wait=False):
            log.info("%s/: another download is at work there; waiting for it", folder)
            lock(handle, folder, wait=True)
        yield


def fetch(
    client: http.Client,
    url: str,
    target: Path,
    expected: Expected,
    patience: Patience,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Make `target` the file that is expected, fetching it unless it already is.

    Raises RunError, with `target` as it was, where the server does not have the file, keeps failing
    or sends another one, and where the disk refuses it.
    """
    part = partial_of(target)
    try:
        with alone_in(target.parent):
            if expected.holds(target):  # another process was faster
                return
            try:
                _Transfer(client, url, part, expected, patience, headers or {}).complete()
                durable_files.put_in_place(part, target)
            finally:
                if _size_of(part) == 0:
                    part.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(
            f"{target}: cannot be written ({error.strerror or error}); make room or mend the "
            "folder's rights, and run the same command again"
        ) from error


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


@dataclass(frozen=True)
class _Transfer:
    """A file on its way from `url` into the partial file `part`."""

    client: http.Client
    url: str
    part: Path
    expected: Expected
    patience: Patience
    headers: Mapping[str, str]

    def complete(self) -> None:
        """Go on with the partial file until it is the expected one. Raises RunError."""
        tries, ended, wrong = Tries(self.url, self.patience), False, ""
        size = self.expected.size
        while not self.expected.holds(self.part):
            if ended or (size is not None and self.part.is_file() and _size_of(self.part) >= size):
                wrong = self._discard(wrong)
            try:
                with http_faults():
                    self._receive()
                ended = True
            except Fault as fault:
                ended = False
                if fault.spoiled:
                    self.part.unlink(missing_ok=True)
                tries.failed(fault, _size_of(self.part))

    def _discard(self, earlier: str) -> str:
        """Remove a whole file with a wrong digest, which is returned; RunError the second time."""
        digest = self.expected.digest_of(self.part)
        self.part.unlink()
        if earlier:
            raise RunError(
                f"{self.url}: what the server sends has {self.expected.kind} {digest}, not "
                f"{self.expected.digest}: it has another file now, or something on the way changes "
                "it; nothing of it was kept, so try another network or address"
            )
        log.info("%s: the partial file has a wrong hash; once more from the start", self.url)
        return digest

    def _receive(self) -> None:
        """Request what the partial file lacks, once. Raises Fault where not all of it came."""
        offset, size = _size_of(self.part), self.expected.size
        asked = {**self.headers, "Accept-Encoding": "identity"}
        if offset:
            asked["Range"] = f"bytes={offset}-"
        with contextlib.ExitStack() as stack:
            with answered_within(self.patience.answer):
                request = self.client.stream("GET", self.url, headers=asked)
                response = stack.enter_context(request)
            _check_status(response, self.url)
            _check_content(response)
            start, end = _extent(response, offset)
            if end is not None and size not in (None, end):
                raise Fault(f"the server's file has {end:,} bytes, not {size:,}")
            end = end or size
            position = self._store(response.iter_raw(), start, end)
        if end is not None and position < end:
            raise Fault(f"it ended after {position:,} of {end:,} bytes")

    def _store(self, blocks: Iterator[bytes], start: int, end: int | None) -> int:
        """Write the blocks from byte `start` on, as they arrive; returns where they ended."""
        most = LARGEST_UNKNOWN if self.expected.size is None else self.expected.size
        pace, position = _Pace(self.patience), start
        bar = ProgressBar(end, self.part.name.removesuffix(".part")[1:], "B", done=start)
        with self.part.open("ab" if start else "wb") as stream, bar:
            for block in blocks:
                position += len(block)
                if position > most:
                    raise Fault(f"the server sent more than {most:,} bytes", spoiled=True)
                stream.write(block)
                bar.update(len(block))
                pace.check(len(block))
        return position


@contextlib.contextmanager
def http_faults() -> Iterator[None]:
    """Turn the client's exceptions into Fault, or into RunError where no further try can help."""
    try:
        yield
    except (http.TooManyRedirects, http.UnsupportedProtocol, http.InvalidURL) as error:
        raise RunError(
            f"{_url_of(error)}: not fetched: {error}; is the address right, or does a proxy or "
            "login page stand in between?"
        ) from error
    except http.ConnectTimeout as error:
        raise NoConnection("no connection in time") from error
    except (http.ConnectError, http.ProxyError) as error:
        raise NoConnection(f"no connection ({error})") from error
    except http.TimeoutException as error:
        raise Fault("the server went silent") from error
    except http.TransportError as error:
        raise Fault(f"the connection broke ({error or type(error).__name__})") from error
    except ValueError as error:  # of the client: a number of thousands of digits, for example
        raise Fault(f"the server's answer makes no sense ({str(error)[:_SHOWN]})") from error


def _url_of(error: Exception) -> str:
    return str(error.request.url) if isinstance(error, http.RequestError) else "the address"


def _check_status(response: http.Response, url: str) -> None:
    code = response.status_code
    said = f"the server answered {code} {response.reason_phrase[:_SHOWN]}".rstrip()
    if code in (200, 206):
        return
    if code == 416:  # it has no bytes behind the partial file's end
        raise Fault(said, spoiled=True)
    if code in (408, 425, 429) or code >= 500:
        after = response.headers.get("Retry-After", "")
        raise Fault(said, wait=float(after) if after.isdecimal() else 0.0)
    advice = {
        401: "it wants a login: `hf auth login`, if it is the hub",
        403: "access is refused: does it need an account, or a condition to be accepted?",
    }
    raise RunError(f"{url}: {said}; {advice.get(code, 'the file is not at this address')}")


def _check_content(response: http.Response) -> None:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Fault("the server compressed the file, which was not asked for")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise Fault("a web page came instead of the file (a proxy or login page?)")


def _extent(response: http.Response, offset: int) -> tuple[int, int | None]:
    """Return where in the file the body begins, and the file's size if the server says it."""
    if response.status_code == 206:
        said = response.headers.get("Content-Range", "")[:_SHOWN]
        match = re.fullmatch(rf"bytes ({_NUMBER})-{_NUMBER}/({_NUMBER}|\*)", said)
        if match is None or int(match[1]) != offset:
            raise Fault(f"asked from byte {offset:,}, the server sent {said!r}", spoiled=True)
        return offset, None if match[2] == "*" else int(match[2])
    # 200: the whole file, whether or not a part was asked for
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(_NUMBER, length) else None


class _Pace:
    """The speed at which bytes arrive, which may not fall below a limit."""

    def __init__(self, patience: Patience) -> None:
        self._patience, self._began, self._count = patience, time.monotonic(), 0

    def check(self, count: int) -> None:
        """Count bytes. Raises Fault where fewer than the least came in a window of time."""
        self._count += count
        elapsed = time.monotonic() - self._began
        if elapsed < self._patience.window:
            return
        if self._count < self._patience.least:
            raise Fault(f"only {self._count:,} bytes came in {elapsed:.0f} s")
        self._began, self._count = time.monotonic(), 0

"""What the hub says of a published checkpoint: its commit, and the hash and size of each file."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from minbert.download.fetch import Expected, http_faults
from minbert.download.http import http
from minbert.download.retries import Fault, Patience, Tries, answered_within
from minbert.encoder import hub
from minbert.encoder.hub import Published
from minbert.support import untrusted
from minbert.support.errors import InputError, RunError

_LARGEST_ANSWER = 64 * untrusted.MEGABYTE  # a repository of 100,000 files has some 20
_LARGEST_FILE = 2**50  # bytes
_HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_NONSENSE = "the hub's answer makes no sense (a proxy or login page?)"


@dataclass(frozen=True)
class Listing:
    """The files of a checkpoint at a commit, each as the hub describes it."""

    wanted: Published
    commit: str
    files: Mapping[str, Any]

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def blob(self, name: str) -> str:
        """The name of a file's blob in the cache: its hash. Raises RunError where none is given."""
        return self._hash_and_size(name)[0]

    def expected(self, name: str) -> Expected:
        """What a file must be, as `blob`; bert-base-uncased has pinned hashes of its own."""
        digest, size = self._hash_and_size(name)
        pinned = hub.BERT_SHA256.get(name) if self.wanted.pinned else None
        return Expected(pinned or digest, size)

    def _hash_and_size(self, name: str) -> tuple[str, int]:
        file = self.files[name]
        large = file.get("lfs")
        facts = large if isinstance(large, dict) else file
        digest, size = facts.get("sha256", file.get("blobId")), facts.get("size")
        known = isinstance(digest, str) and _HASH.fullmatch(digest)
        if not known or type(size) is not int or not 0 <= size <= _LARGEST_FILE:
            raise RunError(f"{self.wanted}: the hub gave no hash and size for {name}")
        return digest, size


def listed(client: http.Client, wanted: Published, patience: Patience) -> Listing:
    """Ask the hub for a checkpoint's files.

    Raises InputError where there is no such checkpoint or it is not open to us, and RunError where
    the hub does not answer, or not as a hub does.
    """
    tries = Tries(f"{constants.ENDPOINT}: {wanted}", patience)
    while True:
        try:
            with http_faults(), answered_within(patience.answer), _hub_errors(wanted):
                said = _answer(client, wanted)
            break
        except Fault as fault:
            tries.failed(fault)
    commit, siblings = said.get("sha"), said.get("siblings")
    if not (isinstance(commit, str) and re.fullmatch("[0-9a-f]{40}", commit)):
        raise RunError(f"{wanted}: the hub answered without a commit")
    if wanted.pinned and commit != wanted.revision:
        raise RunError(f"{wanted}: the hub answered with revision {commit}, not the pinned one")
    files = siblings if isinstance(siblings, list) else []
    named = {str(file.get("rfilename")): file for file in files if isinstance(file, dict)}
    return Listing(wanted, commit, named)


def _answer(client: http.Client, wanted: Published) -> dict[str, Any]:
    """The hub's answer. Its own client would read one without end, before it looks at it."""
    url = f"{constants.ENDPOINT}/api/models/{wanted.name}/revision/{quote(wanted.revision, '')}"
    headers, content = build_hf_headers(), bytearray()
    with client.stream("GET", url, params={"blobs": "true"}, headers=headers) as response:
        hf_raise_for_status(response)
        for block in response.iter_bytes():
            content += block
            if len(content) > _LARGEST_ANSWER:
                raise RunError(f"{wanted}: the hub's answer has no end")
    said = untrusted.parsed(bytes(content))
    if not isinstance(said, dict):
        raise Fault(_NONSENSE)
    return said


@contextlib.contextmanager
def _hub_errors(wanted: Published) -> Iterator[None]:
    try:
        yield
    except RevisionNotFoundError as error:
        raise InputError(f"{wanted}: {wanted.name} has no revision {wanted.revision}") from error
    except GatedRepoError as error:
        raise InputError(
            f"{wanted}: its owner gives access on request: accept the conditions on its page, "
            "then log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{wanted}: the hub shows no such checkpoint; a private one needs `hf auth login`"
        ) from error
    except HfHubHTTPError as error:
        code = error.response.status_code
        if code in (408, 425, 429) or code >= 500:
            raise Fault(f"the hub answered {code}") from error
        raise RunError(f"{wanted}: the hub answered {code}") from error
    except ValueError as error:
        raise Fault(_NONSENSE) from error

"""Names of published encoders, and their copies in the local hub cache; no network is used."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from minbert.support.errors import InputError

BERT = "google-bert/bert-base-uncased"
BERT_REVISION = "86b5e0934494bd15c9632b12f734a8a67f723594"
BERT_SHA256 = {
    "model.safetensors": "68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
_FORMER_BERT = "bert-base-uncased"  # its former name on the hub, which older caches still have


@dataclass(frozen=True)
class Published:
    """A checkpoint on the hub: its name and a revision (a branch, a tag or a commit)."""

    name: str
    revision: str

    @property
    def pinned(self) -> bool:
        """Whether this is bert-base-uncased at the revision whose hashes are known."""
        return (self.name, self.revision) == (BERT, BERT_REVISION)

    def __str__(self) -> str:
        if self.pinned:
            return _FORMER_BERT
        plain = self.revision == "main" and self.name != BERT
        return self.name if plain else f"{self.name}@{self.revision}"


def parse(text: str) -> Published:
    """Read `NAME` or `NAME@REVISION`.

    The default revision is the pinned one for bert-base-uncased and the branch `main` for any other
    checkpoint. Raises InputError for a text that cannot be a name on the hub.
    """
    name, at, revision = text.partition("@")
    name = BERT if name == _FORMER_BERT else name
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(f"{text}: cannot be the name of a published checkpoint") from error
    if not at:
        revision = BERT_REVISION if name == BERT else "main"
    if not re.fullmatch(r"\w[\w./-]*", revision, re.ASCII) or ".." in revision:
        raise InputError(f"{text}: {revision!r} cannot be a revision")
    return Published(name, revision)


def cached(wanted: Published) -> Path | None:
    """The folder in the local cache with the checkpoint's config.json; None if it has no copy."""
    names = (BERT, _FORMER_BERT) if wanted.pinned else (wanted.name,)
    for name in names:
        path = try_to_load_from_cache(name, "config.json", revision=wanted.revision)
        if isinstance(path, str):
            return Path(path).parent
    return None


def origin(folder: Path, sha256: Mapping[str, str]) -> dict[str, str] | None:
    """The hub's name and revision for the checkpoint in `folder`; None if they are not known.

    They are told by the folder's path in the hub's cache or by `sha256`, the hashes of its files:
    `vocab.txt`, and `weights` for the file with the tensors.
    """
    repository, snapshots, commit = ("", "", "", *folder.absolute().parts)[-3:]
    if snapshots == "snapshots" and repository.startswith("models--"):
        name = repository.removeprefix("models--").replace("--", "/")
        return {"name": name, "revision": commit}
    if {sha256.get("weights"), sha256.get("vocab.txt")} == set(BERT_SHA256.values()):
        return {"name": BERT, "revision": BERT_REVISION}
    return None

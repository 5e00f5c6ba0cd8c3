"""Folders made once of text: each is named by a hash of all that decides its content.

Such a folder is whole or absent.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from minbert.data.tokenizer import WordPieceTokenizer
from minbert.pretrain.corpus import Document, fingerprint, read_documents
from minbert.support import durable_files, untrusted
from minbert.support.errors import InputError

R = TypeVar("R")  # a recipe, a dataclass


def made_of_text(
    cache: Path,
    prefix: str,
    paths: Sequence[Path],
    decisive: Mapping[str, Any],
    fill: Callable[[Path], None],
) -> Path:
    """The folder that `fill` makes of the texts in these files, made now unless it exists.

    Its name is `prefix` and a hash of the texts and of what else is `decisive`. Raises InputError
    where a file changed meanwhile: another text would be kept under this one's hash.
    """
    with untrusted.unchanged(paths) as check:
        known = {**decisive, "text": [fingerprint(path) for path in paths]}
        key = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]
        folder = cache / f"{prefix}{key}"

        def fill_and_check(draft: Path) -> None:
            fill(draft)
            check()

        durable_files.make_once(folder, fill_and_check)
    return folder


def rows_of_text(
    cache: Path,
    paths: Sequence[Path],
    tokenizer: WordPieceTokenizer,
    recipe: R,
    fill: Callable[[Path, Iterable[Document], WordPieceTokenizer, R], None],
    *,
    form: Mapping[str, int],
    doing: str,
) -> Path:
    """The folder of rows that `fill` makes of these files' documents, as `made_of_text` has it.

    `form` names the form of the rows and its version, `doing` the work, for the progress bar.
    """
    decisive = {**form, "vocabulary": tokenizer.fingerprint(), **vars(recipe)}

    def fill_draft(draft: Path) -> None:
        fill(draft, read_documents(paths, doing), tokenizer, recipe)

    return made_of_text(cache, "", paths, decisive, fill_draft)


def damaged(folder: Path, error: Exception) -> InputError:
    """The error to raise where a folder of the cache cannot be read."""
    return InputError(f"{folder}: damaged ({error}); remove the folder")

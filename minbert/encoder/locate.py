"""Which folder an encoder is read from: the one named, else the one that lies on disk."""

from __future__ import annotations

import os
from pathlib import Path

from minbert.encoder import hub, weights
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.places import BUNDLED_ENCODER, COURSE_ENCODER


def encoder_folder(named: str | None) -> Path:
    """The folder of an encoder given by folder or name, else of the one that lies on disk.

    Raises InputError where there is none.
    """
    if named is not None and os.path.isdir(named):  # noqa: PTH112  Path's raises on a long name
        folder, why = Path(named), "as --weights says"
    elif named is not None:
        folder, why = _published(named)
    elif COURSE_ENCODER.is_dir() or COURSE_ENCODER.is_symlink():  # which may lead nowhere
        folder, why = COURSE_ENCODER, "found there"
    elif BUNDLED_ENCODER.is_dir():
        folder, why = BUNDLED_ENCODER, "the bundled encoder"
    else:
        raise InputError(
            f"no encoder: neither {COURSE_ENCODER}/ nor {BUNDLED_ENCODER}/ is there; fetch the "
            "first with python -m minbert.download --weights bert-base-uncased, or "
            "give --weights a folder with config.json, vocab.txt and model.safetensors"
        )
    log.info("weights: %s/ (%s)", folder, why)
    return folder


def _published(named: str) -> tuple[Path, str]:
    """The local copy of a checkpoint given by its name on the hub, and what it is."""
    try:
        wanted = hub.parse(named)
    except InputError as error:
        raise InputError(f"--weights {named}: no such folder") from error
    if wanted.pinned and COURSE_ENCODER.is_dir():
        return COURSE_ENCODER, f"{named}, found there"
    fetch = f"fetch it with: python -m minbert.download --weights {named}"
    folder = hub.cached(wanted)
    if folder is None:
        raise InputError(
            f"--weights {named}: no such folder, and no checkpoint of that name in the local "
            f"cache; {fetch}"
        )
    try:
        weights.check_folder(folder)
    except InputError as error:
        raise InputError(
            f"--weights {named}: the local copy is not whole ({error}); {fetch}"
        ) from error
    return folder, f"{wanted.name} at revision {folder.name}, from the local cache"

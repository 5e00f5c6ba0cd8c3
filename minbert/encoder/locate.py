"""The folder that an encoder is read from: the one the user names, else one on disk."""

import os
from pathlib import Path

from minbert.encoder import hub, weights
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.places import BUNDLED_ENCODER, COURSE_ENCODER


def encoder_folder(named: str | None, flag: str = "--weights") -> Path:
    """The folder of an encoder given by path or by name on the hub; None takes one on disk.

    `flag` is what the user named it by. Raises InputError where there is none, or the copy of a
    named encoder is not whole.
    """
    if named is None:
        folder, why = _on_disk()
    elif os.path.isdir(named):  # noqa: PTH112  Path's raises on a long name
        folder, why = Path(named), f"as {flag} says"
    else:
        folder, why = _published(named, flag)
    log.info("%s: %s/ (%s)", flag.strip("-"), folder, why)
    return folder


def _on_disk() -> tuple[Path, str]:
    """The course's encoder, else the bundled one, and why."""
    if COURSE_ENCODER.is_dir() or COURSE_ENCODER.is_symlink():  # which may lead nowhere
        return COURSE_ENCODER, "found there"
    if BUNDLED_ENCODER.is_dir():
        return BUNDLED_ENCODER, "the bundled encoder"
    raise InputError(
        f"no encoder: neither {COURSE_ENCODER}/ nor {BUNDLED_ENCODER}/ is there; fetch the "
        "first with python -m minbert.download --weights bert-base-uncased, or "
        "give --weights a folder with config.json, vocab.txt and model.safetensors"
    )


def _published(named: str, flag: str) -> tuple[Path, str]:
    """The local copy of a checkpoint given by its name on the hub, and where it comes from."""
    try:
        wanted = hub.parse(named)
    except InputError as error:
        raise InputError(f"{flag} {named}: no such folder") from error
    if wanted.pinned and COURSE_ENCODER.is_dir():
        return COURSE_ENCODER, f"{named}, found there"
    folder = _cached(named, wanted, flag)
    return folder, f"{wanted.name} at revision {folder.name}, from the local cache"


def _cached(named: str, wanted: hub.Published, flag: str) -> Path:
    """The whole copy of a checkpoint in the hub's local cache."""
    folder, fetch = hub.cached(wanted), f"python -m minbert.download --weights {named}"
    if folder is None:
        raise InputError(
            f"{flag} {named}: no such folder, and no checkpoint of that name in the local "
            f"cache; fetch it with: {fetch}"
        )
    try:
        weights.check_folder(folder)
    except InputError as error:
        raise InputError(
            f"{flag} {named}: the local copy is not whole ({error}); fetch it with: {fetch}"
        ) from error
    return folder

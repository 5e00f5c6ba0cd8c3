"""The settings of an earlier run, given back to a command line: `--like RUN`."""

import argparse
import dataclasses
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.flags import OneLineParser, words_for
from minbert.training.record import read_manifest

LIKE = "like"


def add_like(parser: OneLineParser) -> None:
    """Add the flag `--like RUN`, which `with_earlier` takes back."""
    parser.add_argument(
        f"--{LIKE}",
        metavar="RUN",
        help="repeat the settings of this run (its folder, or manifest.json); flags that "
        "you type override them, and the outputs go to this command's own folders",
    )


def with_earlier(
    typed: Mapping[str, Any],
    parser: OneLineParser,
    kind: type,
    left_out: Callable[[Mapping[str, Any]], Collection[str]],
    completed: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
) -> dict[str, Any]:
    """What was typed and, with `--like`, the settings of that run beneath it.

    `kind` is the configuration, and `left_out` names the settings in a manifest that are not taken
    over; `completed` adds what a run meant by settings that it did not know yet. Raises InputError
    where there is no such run, or where a value is none for its flag.
    """
    given = {name: value for name, value in typed.items() if name != LIKE}
    if LIKE not in typed:
        return given
    path = Path(typed[LIKE])
    try:
        manifest = read_manifest(path)
    except InputError as error:
        raise InputError(f"--{LIKE} names no run's folder: {error}") from error
    config = manifest.get("config")
    if not isinstance(config, dict):
        raise InputError(f"--{LIKE} {path}: its manifest has no settings")
    known = {entry.name for entry in dataclasses.fields(kind)}
    if unknown := sorted(config.keys() - known):
        log.warning("--%s %s: passed over, no such flag: %s", LIKE, path, ", ".join(unknown))
    own = left_out(manifest)
    taken = {n: v for n, v in completed(config).items() if n in known and n not in own}
    return {**_parsed(taken, parser, kind, path), **given}


def _parsed(
    config: Mapping[str, Any], parser: OneLineParser, kind: type, path: Path
) -> dict[str, Any]:
    """A manifest's settings, read as if they had been typed."""
    entries = {entry.name: entry for entry in dataclasses.fields(kind)}
    found = argparse.Namespace()
    for name, value in config.items():
        try:
            parser.parse_known_args(list(words_for(entries[name], value)), found)
        except (InputError, TypeError) as error:
            raise InputError(f"--{LIKE} {path}: {name} {value!r} is no setting") from error
    return vars(found)

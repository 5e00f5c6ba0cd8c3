"""Places for faults, with the command as it is or weakened on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from minbert.experiments.faults.place import Site
from minbert.experiments.faults.plans import Sources
from minbert.experiments.faults.process import Forks, Interpreters, Order, live
from minbert.support import durable_files
from minbert.training import checkpoint


def without_flushes(order: Order) -> None:
    """The command of a build that brings nothing to disk before it relies on it."""
    durable_files._sync = lambda path: None
    durable_files.JsonLines.sync = lambda log: None  # type: ignore[method-assign]
    live(order)


def without_hashes(order: Order) -> None:
    """The command of a build that takes every checkpoint's files for the manifest's."""
    hash_of = durable_files.sha256_of

    def hashed(path: Path) -> str:
        is_checkpoint = (path.parent / checkpoint.MANIFEST).exists() or ".tmp" in path.parent.name
        return "0" * 64 if is_checkpoint else hash_of(path)

    durable_files.sha256_of = hashed
    live(order)


def site(folder: Path, life: Callable[[Order], None] = live) -> Site:
    return Site(folder / "site", folder / "out", Forks(life), Interpreters(), 7)


def sources(place: Site, seed: int = 7) -> Sources:
    return Sources(Random(seed), place.operations, place.home)

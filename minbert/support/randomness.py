"""The seeds of all random draws.

Nothing in this package draws from an ambient generator. Every draw takes a 32-bit seed hashed from
the run's seed, the draw's purpose and its position (`derive_seed`), so a run resumed at step k is
the run that never stopped, with no random state to save.

A recorded pass (a CUDA graph) draws anew at each replay, though none of its Python runs again:
`Draws` gives each of its draws a generator, and seeds all of them as the pass itself would.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

_draws: Draws | None = None  # of the pass at work, if they are noted or redrawn


class StepSeed(int):
    """A step's seed, or one derived from it, which knows how: `derive_seed` returns such seeds."""

    path: tuple[tuple[Any, ...], ...]  # each derivation's purpose and position, the first one first

    def __new__(cls, value: int, path: tuple[tuple[Any, ...], ...] = ()) -> StepSeed:
        """A seed of this value; without a path it is the step's own."""
        seed = super().__new__(cls, value)
        seed.path = path
        return seed

    def in_step(self, seed: int) -> int:
        """What this seed is in the step of another seed."""
        for purpose, *position in self.path:
            seed = derive_seed(seed, purpose, *position)
        return seed


def derive_seed(seed: int, purpose: str, *position: int | str) -> int:
    """A 32-bit seed by SHA-256 of (seed, purpose, position); torch on a CPU ignores more bits."""
    text = "\x1f".join(str(part) for part in (seed, purpose, *position))
    value = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    if isinstance(seed, StepSeed):
        return StepSeed(value, (*seed.path, (purpose, *position)))
    return value


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on `device` that begins at `seed`, for draws that accept a generator."""
    if _draws is not None and (own := _draws.next(seed)) is not None:
        return own
    return torch.Generator(device=device).manual_seed(seed)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Run a block with torch's default generators seeded, then put their states back.

    Dropout draws from the default generator only, so a forward pass's masks are replayable only
    if that generator is reseeded.
    """
    if _draws is not None and (own := _draws.next(seed)) is not None:
        with default_replaced(own):
            yield
        return
    generators = _default_generators(device)
    states = [each.get_state() for each in generators]
    for each in generators:
        each.manual_seed(seed)
    try:
        yield
    finally:
        for each, state in zip(generators, states, strict=True):
            each.set_state(state)


def _default_generators(device: torch.device) -> list[torch.Generator]:
    """The CPU's and the device's. `torch.manual_seed` visits every backend, which costs 0.3 ms."""
    if device.type == "cuda":
        torch.cuda.init()  # the list is empty before
        index = torch.cuda.current_device() if device.index is None else device.index
        return [torch.default_generator, torch.cuda.default_generators[index]]
    if device.type == "mps":
        return [torch.default_generator, torch.mps._get_default_mps_generator()]
    return [torch.default_generator]


class Draws:
    """The draws of a pass, in order: `noted` in one run of it, `redrawn` in all others.

    Redrawn, every draw has a generator of its own, because a recorded kernel remembers which
    generator it read, and not the seed.
    """

    def __init__(self) -> None:
        self._seeds: list[int] = []
        self._turn: int | None = None  # of a redrawn pass
        self.generators: list[torch.Generator] = []

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note the seeds of the block's draws, which are drawn as ever."""
        with self._at_work():
            yield

    @contextlib.contextmanager
    def redrawn(self) -> Iterator[None]:
        """Draw from `generators` in the block. Raises RuntimeError for draws not noted before."""
        self._turn = 0
        with self._at_work():
            yield
        if self._turn != len(self._seeds):
            raise RuntimeError(f"{self._turn} random draws in place of {len(self._seeds)}")

    def make_generators(self, device: torch.device) -> None:
        """Make a generator for every draw that was noted."""
        self.generators = [torch.Generator(device) for _ in self._seeds]

    def seed(self, step: int) -> None:
        """Seed the generators as the pass itself would in the step of the seed `step`."""
        for own, noted in zip(self.generators, self._seeds, strict=True):
            own.manual_seed(noted.in_step(step) if isinstance(noted, StepSeed) else noted)

    def next(self, seed: int) -> torch.Generator | None:
        """The generator of the next draw, which is by `seed`; None where it is only noted."""
        if self._turn is None:
            self._seeds.append(seed)
            return None
        if self._turn == len(self._seeds) or _way(seed) != _way(self._seeds[self._turn]):
            raise RuntimeError(f"random draw {self._turn + 1} is not the one noted before")
        self._turn += 1
        return self.generators[self._turn - 1]

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        global _draws
        _draws = self
        try:
            yield
        finally:
            _draws = None


def _way(seed: int) -> Any:
    """How a seed comes about: its way from the step's, or itself if every step has the same."""
    return seed.path if isinstance(seed, StepSeed) else seed


@contextlib.contextmanager
def default_replaced(own: torch.Generator) -> Iterator[None]:
    """Let torch's default generator of `own`'s device go by `own`'s state within the block."""
    default = _default_generators(own.device)[-1]
    if own.device.type == "cuda":  # a recording must hold on to the state itself
        state = default.graphsafe_get_state()
        default.graphsafe_set_state(own)
        put_back = partial(default.graphsafe_set_state, state)
    else:
        put_back = partial(default.set_state, default.get_state())
        default.set_state(own.get_state())
    try:
        yield
    finally:
        put_back()

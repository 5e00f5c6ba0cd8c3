"""The seeds of all random draws.

Nothing in this package draws from an ambient generator. Every draw takes a 32-bit seed hashed from
the run's seed, the draw's purpose and its position (`derive_seed`), so a run resumed at step k is
the run that never stopped, with no random state to save.
"""

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def derive_seed(seed: int, purpose: str, *position: int | str) -> int:
    """A 32-bit seed by SHA-256 of (seed, purpose, position); torch on a CPU ignores more bits."""
    text = "\x1f".join(str(part) for part in (seed, purpose, *position))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A new generator on `device`, for draws that accept a generator."""
    return torch.Generator(device=device).manual_seed(seed)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Run a block with torch's default generators seeded, then put their states back.

    Dropout draws from the default generator only, so a forward pass's masks are replayable only
    if that generator is reseeded.
    """
    cpu_state = torch.get_rng_state()
    cuda_state = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(cpu_state)
        if cuda_state is not None:
            torch.cuda.set_rng_state(cuda_state, device)

"""Seeds of draws, and generators that are put back."""

from __future__ import annotations

import pytest
import torch

from minbert.support.randomness import Draws, StepSeed, derive_seed, generator, seeded

CPU = torch.device("cpu")


def test_derived_seeds_fit_32_bits() -> None:
    seeds = [derive_seed(11711, "dropout", step) for step in range(2000)]
    assert all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in seeds)
    assert max(seeds) > 2**31  # all 32 bits are used
    assert len(set(seeds)) > 1990  # a clash in 2000 draws of 2**32 is all but impossible


def test_derived_seed_depends_on_every_part() -> None:
    base = (1, "order", 2, 3)
    others = [(2, "order", 2, 3), (1, "noise", 2, 3), (1, "order", 3, 3), (1, "order", 2, 4)]
    others += [(1, "order", 2), (1, "order", 23), (1, "order", 3, 2), (12, "order", 3)]
    assert len({derive_seed(*parts) for parts in (base, *others)}) == len(others) + 1
    assert derive_seed(*base) == derive_seed(*base)


def test_derived_seed_is_the_same_on_every_machine() -> None:
    """SHA-256 of the parts joined by the unit separator, first four bytes, big-endian."""
    assert derive_seed(0, "x") == 0x45FDDFBB
    assert derive_seed(11711, "dropout", 7, "rank") == 0xACF16D8E


def test_seeded_replays_and_restores() -> None:
    torch.manual_seed(5)
    undisturbed = torch.rand(4)
    torch.manual_seed(5)
    with seeded(9, CPU):
        first = torch.rand(3)
    with seeded(9, CPU):
        again = torch.rand(3)
    with seeded(10, CPU):
        other = torch.rand(3)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.rand(4), undisturbed)


def test_seeded_restores_after_an_exception() -> None:
    before = torch.get_rng_state()
    with pytest.raises(KeyError), seeded(1, CPU):
        torch.rand(1)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)


def test_seeded_nests() -> None:
    with seeded(1, CPU):
        whole = torch.rand(4)
    with seeded(1, CPU):
        head = torch.rand(2)
        with seeded(2, CPU):
            torch.rand(7)
        tail = torch.rand(2)
    assert torch.equal(torch.cat([head, tail]), whole)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_seeded_replays_and_restores_on_cuda() -> None:
    cuda = torch.device("cuda")
    before = torch.cuda.get_rng_state(cuda)
    with seeded(9, cuda):
        first = torch.rand(3, device=cuda)
    with seeded(9, cuda):
        assert torch.equal(torch.rand(3, device=cuda), first)
    assert torch.equal(torch.cuda.get_rng_state(cuda), before)


def test_generator_leaves_the_default_one_alone() -> None:
    before = torch.get_rng_state()
    first, again = (torch.rand(3, generator=generator(4)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_steps_seeds_know_what_they_are_in_another_step() -> None:
    for seed in (3, 11711):
        derived = derive_seed(derive_seed(StepSeed(seed), "part", 1, 2), "noise")
        assert derived == derive_seed(derive_seed(seed, "part", 1, 2), "noise")
        assert isinstance(derived, StepSeed)
        assert derived.in_step(7) == derive_seed(derive_seed(7, "part", 1, 2), "noise")
    assert StepSeed(5).in_step(7) == 7


def drawn(seed: int) -> list[torch.Tensor]:
    with seeded(derive_seed(seed, "masks"), CPU):
        masks = torch.rand(3)
    noise = torch.rand(3, generator=generator(derive_seed(seed, "noise")))
    with seeded(5, CPU):
        return [masks, noise, torch.rand(3)]


def noted_draws() -> Draws:
    draws = Draws()
    with draws.noted():
        found = drawn(StepSeed(1))
    assert all(map(torch.equal, found, drawn(1)))
    draws.make_generators(CPU)
    return draws


def test_redrawn_draws_are_those_of_their_step() -> None:
    draws = noted_draws()
    for step in (2, 9):
        draws.seed(step)
        torch.manual_seed(0)
        with draws.redrawn():
            found = drawn(StepSeed(1))
        undisturbed = torch.rand(2)
        assert all(map(torch.equal, found, drawn(step)))
        torch.manual_seed(0)
        assert torch.equal(undisturbed, torch.rand(2))


def test_other_draws_than_those_noted_are_refused() -> None:
    draws = noted_draws()
    with pytest.raises(RuntimeError, match="1 random draws in place of 3"), draws.redrawn():
        generator(derive_seed(StepSeed(1), "masks"))
    with pytest.raises(RuntimeError, match="draw 1 is not the one"), draws.redrawn():
        generator(derive_seed(StepSeed(1), "noise"))
    with pytest.raises(RuntimeError, match="draw 4 is not the one"), draws.redrawn():
        drawn(StepSeed(1))
        generator(1)
    assert torch.equal(drawn(3)[1], drawn(3)[1])  # and then draws are as ever

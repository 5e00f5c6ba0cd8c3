"""FreeLB against its algorithm in float64, and the properties it must have."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.regularizers.freelb import FreeLB
from minbert.regularizers.objective import Objective
from minbert.support.randomness import derive_seed, generator
from minbert.tasks.registry import TASKS
from tests.regularizers import formulas
from tests.regularizers.checks import (
    assert_is_the_finite_difference,
    assert_is_the_formula,
    net_of,
    seen_masks,
    weights_of,
)
from tests.tiny_models import (
    CASES,
    Case,
    assert_gradients_agree,
    gradients,
    tiny_batch,
    tiny_model,
)

SEED = 77
STS = Case("sts", "relational")
SETTINGS = {"step_size": 0.1, "init": 0.3, "radius": 0.2}


def noise_of(model: MultitaskBert, batch: Batch) -> Tensor:
    """The same draw as the method's, before masks and scale."""
    assert batch.tokens is not None
    table = model.encoder.word_embeddings.weight
    rows = batch.tokens.input_ids.unflatten(0, (batch.views, -1))
    noise = table.new_empty(*rows.shape, table.size(1))
    noise.uniform_(-1, 1, generator=generator(derive_seed(SEED, "freelb")))
    return noise.detach().flatten(0, 1)


def deltas_of(term: FreeLB, model: MultitaskBert, batch: Batch) -> list[Tensor]:
    """δ at every pass."""
    seen: list[Tensor] = []
    embeddings = model.embed(batch)
    handle = model.register_forward_pre_hook(
        lambda _model, args: seen.append((args[1] - embeddings).detach())
    )
    term.backward(model, batch, SEED)
    handle.remove()
    model.zero_grad()
    return seen


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient_and_ascent_are_the_algorithms(case: Case, steps: int) -> None:
    model, batch = tiny_model(case), tiny_batch(case)
    term = FreeLB(steps=steps, **SETTINGS)
    weights = weights_of(model)
    total, deltas = formulas.freelb(
        weights, net_of(case), batch, noise_of(model, batch), SEED, steps=steps, **SETTINGS
    )
    for ours, expected in zip(deltas_of(term, model, batch), deltas, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-12)
    ours = term.backward(model, batch, SEED)["loss"]
    assert_is_the_formula(model, ours, weights, total)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient_is_the_finite_difference_with_the_perturbations_held(case: Case) -> None:
    model, batch = tiny_model(case), tiny_batch(case)
    term = FreeLB(steps=3, **SETTINGS)
    held = deltas_of(term, model, batch)
    term.backward(model, batch, SEED)

    def mean_loss(other: MultitaskBert) -> Tensor:
        embeddings = other.embed(batch)
        losses = [
            batch.task.loss(other(batch, embeddings + delta, mask_seed=SEED), batch.labels)
            for delta in held
        ]
        return torch.stack(losses).mean()

    assert_is_the_finite_difference(model, mean_loss)


def test_one_pass_without_noise_is_ordinary_training() -> None:
    model, batch = tiny_model(STS), tiny_batch(STS)
    values = FreeLB(steps=1, init=0.0).backward(model, batch, SEED)
    ours = gradients(model)
    plain = Objective().backward(model, batch, SEED)
    assert float(values["loss"]) == float(plain["loss"])
    assert_gradients_agree(ours, gradients(model), 1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_perturbations_stay_in_their_ball_and_off_the_padding(case: Case) -> None:
    model, batch = tiny_model(case), tiny_batch(case)
    assert batch.tokens is not None
    padding = ~batch.tokens.attention_mask.bool()
    for number, delta in enumerate(deltas_of(FreeLB(steps=5, **SETTINGS), model, batch)):
        by_example = delta.unflatten(0, (batch.views, -1)).square().sum(dim=(0, 2, 3)).sqrt()
        assert not delta[padding].any()
        if number:  # the start is as published, where m may exceed the radius
            assert float(by_example.max()) <= 0.2 * (1 + 1e-12)
        assert float(by_example.min()) > 0


def test_the_start_is_uniform_and_scaled_by_the_length() -> None:
    case = Case("sst", "bi")
    model = tiny_model(case)
    batch = tiny_batch(case, lengths=(30, 5) * 20)
    delta = FreeLB(init=2.0).start(model, batch, SEED)
    size = model.encoder.config.hidden_size
    for row, length in zip(delta, (30, 5) * 20, strict=True):
        bound = 2.0 / (length * size) ** 0.5
        assert 0.9 * bound < float(row.abs().max()) <= bound
        assert float(row[:length].std()) == pytest.approx(bound / 3**0.5, rel=0.2)
    again, other = (FreeLB(init=2.0).start(model, batch, seed) for seed in (SEED, SEED + 1))
    assert torch.equal(again, delta)
    assert not torch.equal(other, delta)


def test_the_ascent_raises_the_loss() -> None:
    for case in CASES:
        model, batch = tiny_model(case), tiny_batch(case)
        values = FreeLB(steps=3, step_size=1e-2, init=0.01, radius=1.0).backward(model, batch, SEED)
        assert float(values["freelb_rise"]) > 0


def test_all_passes_have_the_same_masks_and_no_other_is_made() -> None:
    model, batch = tiny_model(STS), tiny_batch(STS)
    with seen_masks(model) as seen:
        FreeLB(steps=3).backward(model, batch, SEED)
    assert seen == [SEED] * 3


def test_numbers_a_task() -> None:
    named = FreeLB(init={"sts": 0.5, "sst": 0.0}, radius={"sts": 0.1, "sst": 0.1})
    for case, expected in ((STS, 0.5), (Case("sst", "bi"), 0.0)):
        model, batch = tiny_model(case), tiny_batch(case)
        plain = FreeLB(init=expected, radius=0.1)
        assert torch.equal(named.start(model, batch, SEED), plain.start(model, batch, SEED))
    for case in (STS, Case("sst", "bi")):  # without numbers, each task's own
        task, batch = TASKS[case.task], tiny_batch(case)
        own = FreeLB(init=task.freelb_init, radius=task.freelb_radius)
        assert torch.equal(
            FreeLB().start(tiny_model(case), batch, SEED), own.start(tiny_model(case), batch, SEED)
        )


def test_a_task_has_passes_of_its_own() -> None:
    term = FreeLB(steps={"sst": 1, "sts": 3})
    for case, passes in ((STS, 3), (Case("sst", "bi"), 1)):
        assert len(deltas_of(term, tiny_model(case), tiny_batch(case))) == passes


@pytest.mark.parametrize("case", CASES, ids=str)
def test_in_bf16_the_ascent_and_the_gradients_lead_where_fp32s_do(case: Case) -> None:
    lowered = tiny_model(case, dtype=torch.float32, autocast=torch.bfloat16)
    plain, batch = tiny_model(case, dtype=torch.float32), tiny_batch(case)
    term = FreeLB(**{**SETTINGS, "radius": 10.0})
    first, second = (deltas_of(term, model, batch) for model in (lowered, plain))
    moves = [deltas[1] - deltas[0] for deltas in (first, second)]
    assert torch.cosine_similarity(*(move.flatten() for move in moves), dim=0) > 0.995
    ours, theirs = (FreeLB(**SETTINGS).backward(m, batch, SEED) for m in (lowered, plain))
    assert float(ours["loss"]) != float(theirs["loss"])
    assert float(ours["loss"]) == pytest.approx(float(theirs["loss"]), rel=0.02)


def test_a_frozen_encoder_is_perturbed_and_only_the_head_learns() -> None:
    model, batch = tiny_model(STS, frozen=True), tiny_batch(STS)
    FreeLB(**SETTINGS).backward(model, batch, SEED)
    assert all(param.grad is None for param in model.encoder.parameters())
    assert any(param.grad is not None for param in model.heads.parameters())

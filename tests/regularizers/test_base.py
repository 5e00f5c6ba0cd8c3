"""The record of the training pass: which branches it hands out, and how often they are computed."""

from __future__ import annotations

import pytest
import torch

from minbert.model import MultitaskBert
from minbert.regularizers.base import TrainingPass
from minbert.regularizers.r3f import R3F
from tests.tiny_models import CASES, Case, tiny_batch, tiny_model

SST = Case("sst", "bi")
SEED = 41


def count_passes(model: MultitaskBert) -> list[int]:
    """A list that grows by one entry at each pass of `model` from now on."""
    passes: list[int] = []
    model.register_forward_hook(lambda *_: passes.append(len(passes)))
    return passes


@pytest.mark.parametrize("case", CASES, ids=str)
def test_training_pass_is_replayable_from_its_record(case: Case) -> None:
    model, batch = tiny_model(case), tiny_batch(case)
    record = TrainingPass(model, batch, SEED)
    assert torch.equal(record.logits, model(batch, record.embeddings, mask_seed=SEED))
    assert not torch.equal(record.logits, model(batch, record.embeddings, mask_seed=SEED + 1))
    assert not torch.equal(record.logits, model(batch, record.embeddings))


def test_embeddings_are_the_words_alone() -> None:
    model, batch = tiny_model(SST), tiny_batch(SST)
    table = model.encoder.word_embeddings.weight
    expected = table[batch.tokens.input_ids]
    assert torch.equal(TrainingPass(model, batch, SEED).embeddings, expected)


def test_clean_branch_of_shared_masks_is_the_training_pass_itself() -> None:
    model, batch = tiny_model(SST), tiny_batch(SST)
    passes = count_passes(model)
    record = TrainingPass(model, batch, SEED)
    assert record.clean_logits("shared") is record.logits
    assert record.clean_logits("independent") is record.logits
    assert len(passes) == 1


def test_clean_branch_without_dropout_is_one_more_pass_with_gradients() -> None:
    model, batch = tiny_model(SST), tiny_batch(SST)
    passes = count_passes(model)
    record = TrainingPass(model, batch, SEED)
    branch = record.clean_logits("off")
    assert record.clean_logits("off") is branch
    assert len(passes) == 2
    assert branch.requires_grad
    assert torch.equal(branch, model(batch))


def test_without_any_dropout_off_costs_nothing_more() -> None:
    model, batch = tiny_model(SST, dropout=0, head_dropout=0), tiny_batch(SST)
    record = TrainingPass(model, batch, SEED)
    assert record.clean_logits("off") is record.logits


def test_frozen_encoder_without_dropout_costs_nothing_more_either() -> None:
    """Its encoder runs without dropout whatever the rates in its configuration."""
    model, batch = tiny_model(SST, dropout=0.1, head_dropout=0, frozen=True), tiny_batch(SST)
    record = TrainingPass(model, batch, SEED)
    assert record.clean_logits("off") is record.logits


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_encoder_without_dropout_encodes_once_for_all_masks_of_the_heads(case: Case) -> None:
    model, batch = tiny_model(case, dropout=0.0), tiny_batch(case)
    encoded: list[object] = []
    model.encoder.layers[0].register_forward_hook(lambda *_: encoded.append(0))
    record = TrainingPass(model, batch, SEED)
    branch = record.clean_logits("off")
    assert record.clean_logits("shared") is record.logits
    assert len(encoded) == 1
    assert torch.equal(record.logits, model(batch, mask_seed=SEED))
    assert torch.equal(branch, model(batch))
    assert not torch.equal(branch, record.logits)


@pytest.mark.parametrize("dropout", ["off", "shared"])
def test_the_shared_pass_is_exact_under_lowered_precision(dropout: str) -> None:
    changes = {"dtype": torch.float32, "dropout": 0.0}
    model = tiny_model(SST, autocast=torch.bfloat16, **changes)
    record = TrainingPass(model, tiny_batch(SST), SEED)
    exact = tiny_model(SST, **changes)
    seed = None if dropout == "off" else SEED
    assert torch.equal(record.clean_logits(dropout), exact(tiny_batch(SST), mask_seed=seed))


def test_branches_that_share_the_encoders_pass_have_the_gradients_of_passes_of_their_own() -> None:
    case, gradients = Case("sts", "relational"), []
    for apart in (False, True):
        model, batch = tiny_model(case, dropout=0.0), tiny_batch(case)
        record = TrainingPass(model, batch, SEED)
        logits = [record.logits, record.clean_logits("off")]
        if apart:
            logits = [model(batch, mask_seed=SEED), model(batch)]
        sum((n + 1) * one.square().sum() for n, one in enumerate(logits)).backward()
        gradients.append([own.grad for own in model.parameters() if own.grad is not None])
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dropout", ["off", "shared"])
def test_a_pair_then_takes_two_passes_in_all(dropout: str) -> None:
    model, batch = tiny_model(SST, dropout=0.0), tiny_batch(SST)
    term = R3F(sigma=1e-2, dropout=dropout)
    rows: list[int] = []
    model.encoder.layers[0].register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    record = TrainingPass(model, batch, SEED, [term])
    clean, copied = record.pair_logits(term.name, dropout)
    assert len(rows) == 2 and rows[0] == rows[1]
    seed = SEED if dropout == "shared" else None
    assert torch.equal(clean, model(batch, mask_seed=seed))
    assert torch.equal(copied, model(batch, record.copies[term.name], mask_seed=seed))


@pytest.mark.parametrize("rates", [(0.1, 0.0), (0.0, 0.3)])
def test_dropout_in_the_encoder_or_before_the_head_alone_counts(rates: tuple[float, float]) -> None:
    model, batch = tiny_model(SST, dropout=rates[0], head_dropout=rates[1]), tiny_batch(SST)
    record = TrainingPass(model, batch, SEED)
    assert not torch.equal(record.clean_logits("off"), record.logits)


@pytest.mark.parametrize("dropout", ["off", "shared", "independent"])
def test_lowered_precision_is_no_exact_branch_and_costs_one_pass(dropout: str) -> None:
    model = tiny_model(SST, dtype=torch.float32, autocast=torch.bfloat16)
    exact = tiny_model(SST, dtype=torch.float32)
    batch = tiny_batch(SST)
    passes = count_passes(model)
    record = TrainingPass(model, batch, SEED)
    branch = record.clean_logits(dropout)
    assert record.clean_logits(dropout) is branch
    assert len(passes) == 2
    assert branch.dtype == record.logits.dtype == torch.float32  # heads are never lowered
    assert not torch.equal(record.logits, branch)
    assert torch.equal(branch, exact(batch, mask_seed=None if dropout == "off" else SEED))


def test_each_policys_other_branch() -> None:
    record = TrainingPass(tiny_model(SST), tiny_batch(SST), SEED)
    assert record.mask_seed("off", "x", 1) is None
    assert record.mask_seed("shared", "x", 1) == SEED
    fresh = {record.mask_seed("independent", name, n) for name in ("x", "y") for n in (0, 1)}
    assert len(fresh | {SEED, None}) == 6
    assert record.mask_seed("independent", "x", 1) == record.mask_seed("independent", "x", 1)


def test_independent_masks_change_with_the_step() -> None:
    model, batch = tiny_model(SST), tiny_batch(SST)
    first, second = (TrainingPass(model, batch, seed) for seed in (1, 2))
    assert first.mask_seed("independent", "x") != second.mask_seed("independent", "x")


def test_passes_leave_the_default_generator_where_it_was() -> None:
    model, batch = tiny_model(SST), tiny_batch(SST)
    before = torch.get_rng_state()
    TrainingPass(model, batch, SEED).clean_logits("off")
    assert torch.equal(torch.get_rng_state(), before)

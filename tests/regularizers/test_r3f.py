"""R3F against its formula in float64, finite differences, and the properties it must have."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.utils.parametrize import ParametrizationList

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.regularizers import spectral
from minbert.regularizers.base import TrainingPass
from minbert.regularizers.objective import PROBE_EVERY, Objective
from minbert.regularizers.r3f import R3F
from minbert.regularizers.smart.adversarial import Adversarial
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
POLICIES = ("independent", "shared", "off")
NOISES = ("normal", "uniform")
STS = Case("sts", "relational")


def noise_of(term: R3F, batch: Batch, embeddings: Tensor) -> Tensor:
    return (term.copy(batch, embeddings, SEED) - embeddings).detach()


def value_of(term: R3F, model: MultitaskBert, batch: Batch) -> Tensor:
    return term.loss(model, batch, TrainingPass(model, batch, SEED, [term])).detach()


# ------------------------------------------------------------------------------ against formulas


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("dropout", POLICIES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_term_is_the_formulas_in_value_and_gradient(case: Case, dropout: str, noise: str) -> None:
    model, batch = tiny_model(case), tiny_batch(case)
    term = R3F(sigma=1e-2, noise=noise, dropout=dropout)
    training = TrainingPass(model, batch, SEED, [term])
    ours = term.loss(model, batch, training)
    assert float(ours.detach()) > 0
    weights, net = weights_of(model), net_of(case)
    assert training.embeddings is not None
    added = noise_of(term, batch, training.embeddings)
    if dropout == "shared":
        expected = formulas.r3f(weights, net, batch, added, [SEED, SEED])
    else:
        masks = None if dropout == "off" else SEED
        expected = formulas.r3f_together(weights, net, batch, added, masks)
    assert_is_the_formula(model, ours, weights, expected)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_r4f_is_the_formula_of_matrices_over_their_norms(case: Case) -> None:
    """Value, gradient through the norm, and finite differences."""
    model, batch = tiny_model(case), tiny_batch(case)
    spectral.normalize([model.heads, *([model.relational] if model.relational else [])])
    for module in model.modules():
        if isinstance(module, ParametrizationList):
            module[0].follow(module.original, 2000)
    term = R3F(sigma=1e-2, normalized_heads=True)
    training = TrainingPass(model, batch, SEED, [term])
    ours = term.loss(model, batch, training)
    weights = weights_of(model)
    divided = {
        name.replace("parametrizations.weight.original", "weight"): (
            weight / torch.linalg.matrix_norm(weight, ord=2) if "original" in name else weight
        )
        for name, weight in weights.items()
    }
    assert training.embeddings is not None
    added = noise_of(term, batch, training.embeddings)
    expected = formulas.r3f_together(divided, net_of(case), batch, added, SEED)
    assert_is_the_formula(model, ours, weights, expected)
    term.loss(model, batch, TrainingPass(model, batch, SEED, [term])).backward()
    assert_is_the_finite_difference(model, lambda other: value_of(term, other, batch))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_together_or_apart_is_the_same_without_dropout(case: Case) -> None:
    model, batch = tiny_model(case), tiny_batch(case)
    term = R3F(sigma=1e-2, dropout="off")
    together = value_of(term, model, batch)
    training = TrainingPass(model, batch, SEED, [term])
    training.clean_logits("off")  # it is there already, so the noised branch runs alone
    with seen_masks(model) as seen:
        apart = term.loss(model, batch, training).detach()
    assert seen == [None]
    assert float(apart) == pytest.approx(float(together), rel=1e-9)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_fp32_stays_near_float64(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, batch = tiny_model(case), tiny_batch(case)
    term = R3F(sigma=1e-2, dropout="off")
    embeddings = exact.embed(batch)
    assert embeddings is not None
    added = noise_of(term, batch, embeddings)
    monkeypatch.setattr(R3F, "copy", lambda _self, _batch, x, _seed: x + added.to(x.dtype))
    expected = float(value_of(term, exact, batch))
    single = float(value_of(term, tiny_model(case, dtype=torch.float32), batch))
    assert single == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("dropout", POLICIES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient_is_the_finite_difference_with_the_noise_held(case: Case, dropout: str) -> None:
    model, batch = tiny_model(case), tiny_batch(case)
    term = R3F(sigma=1e-2, dropout=dropout)
    term.loss(model, batch, TrainingPass(model, batch, SEED, [term])).backward()
    assert_is_the_finite_difference(model, lambda other: value_of(term, other, batch))


# ------------------------------------------------------------------------------------ properties


@pytest.mark.parametrize("dropout", ["shared", "off"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_noise_no_penalty(case: Case, dropout: str) -> None:
    term = R3F(sigma=0.0, dropout=dropout)
    assert float(value_of(term, tiny_model(case), tiny_batch(case))) <= 1e-12
    single = tiny_model(case, dtype=torch.float32)
    assert float(value_of(term, single, tiny_batch(case))) <= 1e-12


@pytest.mark.parametrize("dropout", POLICIES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_visible_noise_costs_every_task_something(case: Case, dropout: str) -> None:
    values = [
        float(value_of(R3F(sigma=sigma, dropout=dropout), tiny_model(case), tiny_batch(case)))
        for sigma in (1e-2, 1e-1)
    ]
    assert values[0] > 1e-12
    if dropout != "independent":
        assert values[1] > 5 * values[0]  # about 100 while the outputs move in proportion


def test_independent_masks_measure_dropout_and_the_log_tells_how_much() -> None:
    """At the published σ the noise's part is lost in the masks': here by more than a million."""
    model, batch = tiny_model(STS), tiny_batch(STS)
    term = R3F(sigma=1e-5)
    value = float(value_of(term, model, batch))
    parts = term.probe(model, batch, TrainingPass(model, batch, SEED, [term]))
    assert 0.05 * value < float(parts["r3f_of_dropout"]) < 20 * value
    assert float(parts["r3f_of_noise"]) < 1e-6 * value
    shared = value_of(R3F(sigma=1e-5, dropout="shared"), model, batch)
    assert float(parts["r3f_of_noise"]) == pytest.approx(float(shared), rel=1e-6)


def test_probing_adds_no_gradient_and_is_done_only_when_asked() -> None:
    model, batch = tiny_model(STS), tiny_batch(STS)
    objective = Objective([R3F(sigma=1e-2)])
    plain = objective.backward(model, batch, SEED)
    expected = gradients(model)
    probed = objective.backward(model, batch, SEED, step=2 * PROBE_EVERY)
    assert_gradients_agree(gradients(model), expected, 1e-12)
    assert objective.backward(model, batch, SEED, step=2 * PROBE_EVERY + 1).keys() == plain.keys()
    assert probed.keys() - plain.keys() == {"r3f_of_dropout", "r3f_of_noise"}
    assert all(not value.requires_grad for value in probed.values())


def test_every_task_in_turn_is_probed() -> None:
    for count in range(2, len(TASKS) + 1):
        assert {turn * PROBE_EVERY % count for turn in range(count)} == set(range(count))


@pytest.mark.parametrize("noise", NOISES)
def test_noise_has_its_size_and_stays_off_the_padding(noise: str) -> None:
    case = Case("sst", "bi")
    model, batch = tiny_model(case), tiny_batch(case, lengths=(30,) * 40 + (10,))
    embeddings = model.embed(batch)
    assert embeddings is not None and batch.tokens is not None
    term = R3F(sigma=1e-3, noise=noise)
    added = noise_of(term, batch, embeddings)
    real = batch.tokens.attention_mask.bool()
    assert not added[~real].any()
    drawn = added[real]
    spread = 1e-3 if noise == "normal" else 1e-3 / 3**0.5
    assert float(drawn.std()) == pytest.approx(spread, rel=0.02)
    assert abs(float(drawn.mean())) < 5 * spread / drawn.numel() ** 0.5
    if noise == "uniform":
        assert float(drawn.abs().max()) <= 1e-3
    assert torch.equal(added, noise_of(term, batch, embeddings))
    assert not torch.equal(added, (term.copy(batch, embeddings, SEED + 1) - embeddings).detach())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_flow_through_both_branches(case: Case) -> None:
    """A detached clean branch, the known mistake, halves the gradient: here it would be seen."""
    model, batch = tiny_model(case), tiny_batch(case)
    term = R3F(sigma=1e-2, dropout="shared")
    training = TrainingPass(model, batch, SEED, [term])
    term.loss(model, batch, training).backward(retain_graph=True)
    whole = gradients(model)
    target, logits = training.pair_logits(term.name, "shared")
    batch.task.divergence(logits, target.detach()).backward()
    half = gradients(model)
    assert any(
        float((whole[name] - half[name]).norm()) > 0.05 * float(whole[name].norm()) > 0
        for name in whole
    )


# ---------------------------------------------------------------------------------------- passes


def test_clean_and_noised_examples_go_through_the_encoder_together() -> None:
    model, batch = tiny_model(STS), tiny_batch(STS)
    with seen_masks(model) as seen:
        Objective([R3F()]).backward(model, batch, SEED)
    assert seen == [SEED]
    with seen_masks(model) as seen:
        Objective([R3F(dropout="shared")]).backward(model, batch, SEED)
    assert seen == [SEED, SEED]
    with seen_masks(model) as seen:
        Objective([R3F(dropout="off")]).backward(model, batch, SEED)
    assert seen == [SEED, None]


def test_beside_a_term_that_replays_the_masks_the_noised_examples_run_alone() -> None:
    model, batch = tiny_model(STS), tiny_batch(STS)
    shared = Adversarial(epsilon=1e-2, sigma=1e-2, eta=1e-2, dropout="shared")
    with seen_masks(model) as seen:
        both = Objective([R3F(sigma=1e-2), shared]).backward(model, batch, SEED)
    assert seen[0] == SEED and seen.count(SEED) == 3 and len(seen) == 4
    alone = Objective([shared]).backward(model, batch, SEED)
    assert torch.equal(both["adversarial"], alone["adversarial"])


@pytest.mark.parametrize("smart_dropout", ["off", "shared", "independent"])
@pytest.mark.parametrize("dropout", POLICIES)
def test_smart_and_r3f_add_up(dropout: str, smart_dropout: str) -> None:
    model, batch = tiny_model(STS), tiny_batch(STS)
    smart = Adversarial(epsilon=1e-2, sigma=1e-2, eta=1e-2, dropout=smart_dropout, weight=3.0)
    values = Objective([R3F(sigma=1e-2, dropout=dropout, weight=2.0), smart]).backward(
        model, batch, SEED
    )
    expected = values["task_loss"] + 2 * values["r3f"] + 3 * values["adversarial"]
    assert float(values["loss"]) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize(
    ("dropout", "bound"), [("off", 1e-4), ("shared", 1e-4), ("independent", 0.05)]
)
def test_under_bf16_branches_that_differ_by_the_noise_alone_are_exact(
    dropout: str, bound: float
) -> None:
    """With masks of their own they differ by dropout, next to which bf16's rounding is little."""
    model = tiny_model(STS, dtype=torch.float32, autocast=torch.bfloat16)
    plain = tiny_model(STS, dtype=torch.float32)
    batch, term = tiny_batch(STS), R3F(sigma=1e-2, dropout=dropout)
    lowered, exact = (float(value_of(term, one, batch)) for one in (model, plain))
    assert lowered == pytest.approx(exact, rel=bound)


def test_under_bf16_without_dropout_independent_branches_are_exact() -> None:
    changes = {"dtype": torch.float32, "dropout": 0.0, "head_dropout": 0.0}
    batch, term = tiny_batch(STS), R3F(sigma=1e-3, dropout="independent")
    model = tiny_model(STS, autocast=torch.bfloat16, **changes)
    lowered, exact = (float(value_of(term, m, batch)) for m in (model, tiny_model(STS, **changes)))
    assert lowered == pytest.approx(exact, rel=1e-4)


def test_a_repeated_batch_is_its_copies_side_by_side() -> None:
    batch = tiny_batch(Case("para", "bi"))
    twice = batch.repeated(2)
    assert batch.tokens is not None and twice.tokens is not None
    rows = batch.tokens.input_ids.unflatten(0, (2, 3))
    expected = torch.cat([rows, rows], dim=1).flatten(0, 1)
    assert torch.equal(twice.tokens.input_ids, expected)
    assert twice.ids == batch.ids * 2
    assert twice.real_tokens == 2 * batch.real_tokens
    assert twice.views == batch.views

"""The pass from a batch to logits: replayable, blind to padding and to the rest of the batch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from minbert.data.batches import Batch, Dataset
from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.encoder.dropout import Dropout
from minbert.model import MultitaskBert
from minbert.regularizers.base import TrainingPass
from minbert.regularizers.objective import Objective
from minbert.regularizers.smart.bregman import Bregman
from minbert.tasks.heads import RelationalLayer
from minbert.tasks.registry import TASKS
from tests.helpers import CPU, make_dataset, make_encoder, make_model, random_dataset, whole_batch

TASK_NAMES = ("sst", "para", "sts")
WITHOUT_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture
def wide(tiny: EncoderConfig) -> EncoderConfig:
    """Weights large enough for differences to show."""
    return dataclasses.replace(tiny, initializer_range=0.3)


@pytest.fixture
def encoder(wide: EncoderConfig) -> BertModel:
    return make_encoder(wide)


def gradients(model: MultitaskBert, batch: Batch, seed: int | None = None) -> dict[str, Tensor]:
    """Backpropagate the task's loss; the gradients that are not all zero."""
    model.zero_grad()
    batch.task.loss(model(batch, mask_seed=seed), batch.labels).backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}


@pytest.mark.parametrize("task", TASK_NAMES)
@pytest.mark.parametrize("attention", ["fused", "reference"])
def test_the_masks_seed_decides_the_logits(wide: EncoderConfig, task: str, attention: str) -> None:
    model = make_model(make_encoder(wide, attention))
    batch = whole_batch(random_dataset(task, 6))
    first = model(batch, mask_seed=7)
    torch.rand(3)  # ambient draws in between leave no trace
    assert torch.equal(first, model(batch, mask_seed=7))
    assert not torch.equal(first, model(batch, mask_seed=8))


def test_without_a_seed_there_is_no_dropout(encoder: BertModel) -> None:
    model = make_model(encoder)
    batch = whole_batch(random_dataset("sst", 6))
    model(batch, mask_seed=1)
    clean = model(batch)
    assert torch.equal(clean, model(batch))
    for module in model.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
    torch.testing.assert_close(clean, model.eval()(batch))


def test_a_pass_leaves_the_default_generator_alone(encoder: BertModel) -> None:
    model = make_model(encoder)
    before = torch.get_rng_state()
    model(whole_batch(random_dataset("sst", 3)), mask_seed=5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("task", TASK_NAMES)
@pytest.mark.parametrize("seed", [None, 3])
def test_embeddings_passed_in_stand_for_its_own(
    encoder: BertModel, task: str, seed: int | None
) -> None:
    model = make_model(encoder)
    batch = whole_batch(random_dataset(task, 5))
    embeddings = model.embed(batch)
    assert embeddings is not None
    own = model(batch, mask_seed=seed)
    assert torch.equal(model(batch, embeddings, mask_seed=seed), own)
    assert not torch.equal(model(batch, embeddings + 0.1, mask_seed=seed), own)


def test_a_batch_of_features_has_no_embeddings(encoder: BertModel) -> None:
    data = random_dataset("sst", 3)
    kept = data.with_features(torch.zeros(len(data.texts.lengths), 16))
    assert make_model(encoder).embed(whole_batch(kept)) is None


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_equal_sentences_have_cosine_one_under_the_heads_dropout(
    wide: EncoderConfig, pooling: str
) -> None:
    encoder = make_encoder(wide, **WITHOUT_DROPOUT)
    model = make_model(encoder, ["sts"], pooling=pooling, head_dropout=0.3)
    data = make_dataset(
        "sts", [(text, text) for text in ("a good film", "a", "a dog runs")], [5] * 3
    )
    for seed in range(5):
        logits = model(whole_batch(data), mask_seed=seed)
        torch.testing.assert_close(logits, torch.full((3, 1), 5.0), rtol=1e-6, atol=1e-6)


def test_the_heads_dropout_is_on_in_training(wide: EncoderConfig) -> None:
    model = make_model(make_encoder(wide, **WITHOUT_DROPOUT), head_dropout=0.5)
    batch = whole_batch(random_dataset("sst", 4))
    assert not torch.allclose(model(batch, mask_seed=1), model(batch))


@pytest.mark.parametrize("task", TASK_NAMES)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("cross_encoder", [False, True])
def test_the_rest_of_the_batch_makes_no_difference(
    encoder: BertModel, task: str, pooling: str, cross_encoder: bool
) -> None:
    model = make_model(encoder, views=1 if cross_encoder else 2, pooling=pooling)
    data = random_dataset(task, 8, cross_encoder=cross_encoder)
    together = model(whole_batch(data))
    order = np.asarray([5, 2, 7, 0, 6, 1, 4, 3])
    permuted = model(data.batch(order, CPU))
    torch.testing.assert_close(permuted, together[torch.from_numpy(order)], rtol=1e-5, atol=1e-5)
    alone = torch.cat([model(data.batch(np.asarray([i]), CPU)) for i in range(8)])
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)


def test_what_stands_in_the_padding_makes_no_difference(encoder: BertModel) -> None:
    for pooling in ("cls", "mean"):
        model = make_model(encoder, pooling=pooling)
        batch = whole_batch(random_dataset("sst", 6))
        assert batch.tokens is not None
        ids = batch.tokens.input_ids.clone()
        ids[batch.tokens.attention_mask == 0] = 9
        assert not torch.equal(ids, batch.tokens.input_ids)
        other = dataclasses.replace(batch, tokens=dataclasses.replace(batch.tokens, input_ids=ids))
        torch.testing.assert_close(model(other), model(batch), rtol=1e-5, atol=1e-6)


def test_mean_pooling_is_the_mean_over_real_tokens(encoder: BertModel) -> None:
    model = make_model(encoder, pooling="mean").eval()
    tokens = whole_batch(random_dataset("sst", 5)).tokens
    assert tokens is not None
    hidden = encoder(tokens.input_ids, tokens.attention_mask)["last_hidden_state"]
    sizes = tokens.attention_mask.sum(dim=1).tolist()
    expected = torch.stack([hidden[i, :size].mean(dim=0) for i, size in enumerate(sizes)])
    torch.testing.assert_close(model.pool(tokens), expected)


def test_token_types_reach_a_cross_encoders_logits(encoder: BertModel) -> None:
    model = make_model(encoder, views=1)
    batch = whole_batch(random_dataset("sts", 4, cross_encoder=True))
    assert batch.tokens is not None
    assert model(batch).shape == (4, 1)
    plain = dataclasses.replace(
        batch.tokens, token_type_ids=torch.zeros_like(batch.tokens.token_type_ids)
    )
    assert not torch.allclose(model(dataclasses.replace(batch, tokens=plain)), model(batch))


@pytest.mark.parametrize("views", [1, 2])
def test_the_relational_layer_learns_from_both_pair_tasks_and_not_from_sst(
    encoder: BertModel, views: int
) -> None:
    model = make_model(encoder, views=views, rlayer=True)
    reached = {
        task: gradients(model, whole_batch(random_dataset(task, 6, cross_encoder=views == 1)))
        for task in TASK_NAMES
    }
    for task in TASK_NAMES:
        assert ("relational.dense.weight" in reached[task]) == (task != "sst")
        heads = {name.split(".")[1] for name in reached[task] if name.startswith("heads.")}
        assert heads == {task}
        own = {id(p) for module in model.head_chain(task) for p in module.parameters()}
        names = {name for name, p in model.named_parameters() if id(p) in own}
        assert any(name.startswith("relational") for name in names) == (task != "sst")
    assert not torch.equal(
        reached["para"]["relational.dense.weight"], reached["sts"]["relational.dense.weight"]
    )


def test_a_frozen_encoder_gets_no_gradient_and_the_heads_do(encoder: BertModel) -> None:
    model = make_model(encoder, frozen_encoder=True)
    reached = gradients(model, whole_batch(random_dataset("sst", 6)), seed=1)
    assert set(reached) == {"heads.sst.output.weight", "heads.sst.output.bias"}
    assert not any(param.requires_grad for param in encoder.parameters())


@pytest.mark.parametrize("frozen_dropout", [False, True])
@pytest.mark.parametrize("earlier_pass", ["none", "clean", "masked", "train()"])
def test_a_frozen_encoder_has_dropout_only_where_it_is_asked_for(
    encoder: BertModel, frozen_dropout: bool, earlier_pass: str
) -> None:
    model = make_model(
        encoder, head_dropout=0.0, frozen_encoder=True, frozen_dropout=frozen_dropout
    )
    batch = whole_batch(random_dataset("sst", 6))
    if earlier_pass == "train()":
        model.train()
    elif earlier_pass != "none":
        model(batch, mask_seed=None if earlier_pass == "clean" else 9)
    masked = model(batch, mask_seed=1)
    assert torch.equal(masked, model(batch)) != frozen_dropout


@pytest.mark.parametrize("dropout", ["off", "shared"])
def test_the_teacher_of_a_frozen_model_starts_equal_to_it(encoder: BertModel, dropout: str) -> None:
    model = make_model(encoder, frozen_encoder=True)
    term = Bregman(model, dropout=dropout)
    batch = whole_batch(random_dataset("sst", 6))
    model(batch)  # the model has run before, its teacher has not
    assert float(term.loss(model, batch, TrainingPass(model, batch, 1, [term])).detach()) == 0


@pytest.mark.parametrize("cross_encoder", [False, True])
@pytest.mark.parametrize("task", TASK_NAMES)
def test_float64_goes_all_the_way(encoder: BertModel, task: str, cross_encoder: bool) -> None:
    model = make_model(encoder, views=1 if cross_encoder else 2, rlayer=True).double()
    batch = whole_batch(random_dataset(task, 4, cross_encoder=cross_encoder))
    values = Objective([Bregman(model)]).backward(model, batch, 3)
    assert model(batch, mask_seed=3).dtype == torch.float64
    assert {value.dtype for value in values.values()} == {torch.float64}
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float64}


def test_only_an_inexact_pass_lowers_the_precision(encoder: BertModel) -> None:
    exact_model = make_model(encoder)
    model = make_model(encoder, autocast=torch.bfloat16)
    model.load_state_dict(exact_model.state_dict())
    batch = whole_batch(random_dataset("sst", 6))
    expected = exact_model(batch, mask_seed=2)
    assert torch.equal(model(batch, mask_seed=2, exact=True), expected)
    assert torch.equal(model(batch, mask_seed=2), expected)
    lower = model(batch, mask_seed=2, exact=False)
    assert lower.dtype == torch.float32  # the head's, which is never lowered
    assert not torch.equal(lower, expected)
    torch.testing.assert_close(lower, expected, rtol=0.1, atol=0.1)
    assert torch.equal(exact_model(batch, mask_seed=2, exact=False), expected)


@pytest.mark.parametrize("encoder_rate", [0.0, 0.1])
@pytest.mark.parametrize("head_rate", [0.0, 0.3])
@pytest.mark.parametrize("relational_rate", [None, 0.0, 0.2])
def test_it_knows_whether_masks_make_a_difference(
    wide: EncoderConfig, encoder_rate: float, head_rate: float, relational_rate: float | None
) -> None:
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": encoder_rate}
    model = make_model(make_encoder(wide, **rates), head_dropout=head_rate)
    if relational_rate is not None:
        model.relational = RelationalLayer(wide.hidden_size, 2, relational_rate)
    assert model.has_dropout == any([encoder_rate, head_rate, relational_rate])


def test_a_new_task_needs_no_change_of_the_model(encoder: BertModel) -> None:
    model = make_model(encoder, ["cfimdb"])
    data: Dataset = random_dataset("cfimdb", 4)
    assert model(whole_batch(data)).shape == (4, TASKS["cfimdb"].num_outputs)

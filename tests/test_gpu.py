"""What only a CUDA device can show. Run where there is one; skipped, with the reason, elsewhere."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minbert.data import batches
from minbert.data.batches import Padded
from minbert.encoder.config import EncoderConfig
from minbert.encoder.split_products import _cut, split_product
from minbert.experiments.measuring.trial import peak_memory
from minbert.model import MultitaskBert
from minbert.pretrain.masking import Masker
from minbert.pretrain.model import fresh
from minbert.pretrain.objective import PretrainingObjective, text_batch
from minbert.pretrain.shards import TRAIN, PackedText, Recipe, cached
from minbert.regularizers import spectral
from minbert.regularizers.base import TrainingPass
from minbert.regularizers.freelb import FreeLB
from minbert.regularizers.objective import Objective
from minbert.regularizers.r3f import R3F
from minbert.regularizers.smart.adversarial import Adversarial
from minbert.regularizers.smart.bregman import Bregman
from minbert.training import group
from minbert.training.cuda_graphs import Recording, graphed
from minbert.training.loop import scale_gradients
from minbert.training.optimizer import AdamW
from minbert.training.shared import SharedObjective
from tests.helpers import (
    TINY,
    VOCAB,
    make_encoder,
    make_model,
    make_order,
    make_tokenizer,
    random_dataset,
)
from tests.pretrain.texts import random_documents, write_documents
from tests.regularizers.ascents import hold_noise
from tests.regularizers.test_directions import directions
from tests.tiny_models import CASES, Case, tiny_batch, tiny_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
BALL = {"epsilon": 1e-2, "sigma": 1e-2, "eta": 1e-2}  # large enough to count in the loss
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@contextlib.contextmanager
def waits_forbidden() -> Iterator[None]:
    """An error wherever the host waits for the device in the block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mode itself warns that it is a prototype
        try:
            torch.cuda.set_sync_debug_mode("error")
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


def losses(model: MultitaskBert, steps: int, *, smart: bool) -> list[float]:
    """The first losses of a round-robin training on the model's device."""
    data = {task: random_dataset(task, 64) for task in ("sst", "para", "sts")}
    order = make_order("equal", {t: one.lengths for t, one in data.items()}, 8, 1)
    # ε large enough for the term to count in the loss
    terms: Any = [Adversarial(epsilon=1e-2, sigma=1e-2, eta=1e-2), Bregman(model)] if smart else []
    objective, optimizer = Objective(terms), AdamW(model.parameters(), lr=1e-3)
    values = []
    for step, ((task, rows),) in zip(range(steps), order.epoch(0), strict=False):
        terms = objective.backward(model, data[task].batch(rows, model.device), seed=step)
        optimizer.step()
        optimizer.zero_grad()
        objective.after_step(model)
        values.append(float(terms["loss"]))
    return values


@pytest.fixture(params=[1, 10**9], ids=["without padding", "padded"])
def padding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the padding of small batches is left out."""
    monkeypatch.setattr(batches, "_LEAST_SAVED", request.param)
    batch = random_dataset("para", 64).batch(np.arange(8), torch.device("cuda"))
    assert batch.tokens is not None
    assert (batch.tokens.computed is None) == (request.param > 1)


@pytest.mark.usefixtures("padding")
def test_first_20_losses_agree_with_the_cpu(tiny: EncoderConfig) -> None:
    model = make_model(make_encoder(tiny, **NO_DROPOUT), head_dropout=0.0)
    on_gpu = copy.deepcopy(model).cuda()
    assert losses(on_gpu, 20, smart=False) == pytest.approx(
        losses(model, 20, smart=False), abs=1e-3
    )


def test_smart_trains_on_the_gpu_with_dropout(tiny: EncoderConfig) -> None:
    values = losses(make_model(make_encoder(tiny)).cuda(), 20, smart=True)
    assert all(torch.isfinite(torch.tensor(values)))


@pytest.mark.parametrize("dropout", ["off", "shared"])
def test_divergences_are_fp32_under_bf16_autocast(tiny: EncoderConfig, dropout: str) -> None:
    plain = make_model(make_encoder(tiny)).cuda()
    lowered = make_model(make_encoder(tiny), autocast=torch.bfloat16).cuda()
    lowered.load_state_dict(plain.state_dict())
    batch = random_dataset("sst", 8).batch(torch.arange(8).numpy(), plain.device)
    term = Adversarial(epsilon=1e-2, sigma=1e-2, dropout=dropout)
    values = [
        term.loss(m, batch, TrainingPass(m, batch, 3, [term])).item() for m in (plain, lowered)
    ]
    assert values[0] > 0
    assert values[1] == pytest.approx(values[0], rel=1e-4)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_ascent_leads_where_float64_does_under_bf16_autocast(
    case: Case, reuse: bool, split: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At σ = 1e-5, against the plain ascent on the CPU; see tests/regularizers/test_directions."""
    found = []
    for seed in range(8):
        batch = tiny_batch(case, seed=seed)
        hold_noise(monkeypatch, 1e-5 * torch.randn(*batch.tokens.input_ids.shape, 16))
        expected = directions(tiny_model(case), batch)
        how: Any = {"autocast": torch.bfloat16, "split_products": split}
        lowered = tiny_model(case, dtype=torch.float32, **how).cuda()
        tokens = batch.tokens
        moved = (tokens.input_ids, tokens.attention_mask, tokens.token_type_ids)
        there = Padded(*(rows.cuda() for rows in moved), tokens.lengths)
        on_gpu = dataclasses.replace(batch, labels=batch.labels.cuda(), tokens=there)
        ours = directions(lowered, on_gpu, reuse_clean=reuse).cpu()
        found.append(torch.cosine_similarity(ours, expected, dim=-1))
    cosines = torch.cat(found)
    same = 0.998 if split else 0.999
    assert (cosines.abs() >= same).double().mean() > 0.9
    if reuse and case.task != "sst":
        assert cosines.min() >= same


def test_masks_replay_on_the_gpu(tiny: EncoderConfig) -> None:
    model = make_model(make_encoder(tiny)).cuda()
    batch = random_dataset("para", 8).batch(torch.arange(8).numpy(), model.device)
    first, again, other = (model(batch, mask_seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_non_finite_gradients_change_nothing_on_the_device() -> None:
    gradients = [torch.tensor([1.0, float("nan")]).cuda(), torch.ones(3).cuda()]
    norm = torch.nn.utils.get_total_norm(gradients)
    param = torch.nn.Parameter(torch.ones(2, device="cuda"))
    param.grad = gradients[0]
    optimizer = AdamW([param])
    optimizer.found_inf = scale_gradients(gradients, norm, torch.ones((), device="cuda"), clip=1.0)
    optimizer.step()
    assert param.tolist() == [1.0, 1.0]


def test_a_step_does_not_wait_for_the_device(tiny: EncoderConfig) -> None:
    model = make_model(make_encoder(tiny)).cuda()
    data = random_dataset("sts", 8)
    objective, optimizer = Objective([Adversarial(), Bregman(model)]), AdamW(model.parameters())

    def step(seed: int) -> None:
        batch = data.batch(torch.arange(8).numpy(), model.device)
        terms = objective.backward(model, batch, seed)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        optimizer.found_inf = scale_gradients(gradients, norm, terms["loss"], clip=1.0)
        optimizer.step()
        objective.after_step(model)

    step(0)  # first use allocates and may wait
    with waits_forbidden():
        step(1)


def test_pretraining_losses_agree_with_the_cpu(tmp_path: Path) -> None:
    path = write_documents(tmp_path / "text.txt", random_documents(80))
    recipe = Recipe(length=24, pairs=True, held_out=0.2, seed=0)
    text = PackedText(cached(tmp_path, [path], make_tokenizer(2**20), recipe), TRAIN)
    objective = PretrainingObjective(Masker(VOCAB, 0.15, whole_words=False), piece=5)
    model = fresh(TINY, 0, dropout=0.0)
    found = []
    for trained in (model, copy.deepcopy(model).cuda()):
        optimizer, values = AdamW(trained.parameters(), lr=1e-3), []
        for step in range(10):
            batch = text_batch(text, np.arange(4 * step, 4 * step + 4))
            values.append(objective.backward(trained, batch, step)["loss"].item())
            optimizer.step()
            optimizer.zero_grad()
        found.append(values)
    assert found[1] == pytest.approx(found[0], abs=1e-3)


def test_peak_memory_is_the_allocators() -> None:
    gc.collect()
    device, before = torch.device("cuda"), torch.cuda.memory_allocated()

    def work() -> None:
        first = torch.empty(3 * 2**20, dtype=torch.uint8, device=device)
        del first
        torch.empty(2**20, dtype=torch.uint8, device=device)

    assert peak_memory(work, device) == before + 3 * 2**20


def test_a_group_exchanges_by_nccl(tiny: EncoderConfig) -> None:
    """A group of one, since there may be one GPU only: gradients by NCCL, agreement by gloo."""
    dist = group.dist
    model = make_model(make_encoder(tiny, **NO_DROPOUT), head_dropout=0.0).cuda()
    twin, batch = copy.deepcopy(model), random_dataset("sst", 8).batch(np.arange(8), model.device)
    plain = Objective().backward(model, batch, 1)
    store = dist.HashStore()
    dist.init_process_group("cpu:gloo,cuda:nccl", store=store, rank=0, world_size=1)
    try:
        group.take(model.device)
        shared = SharedObjective(Objective()).backward(twin, batch, 1)
        assert group.highest(3) == 3
    finally:
        dist.destroy_process_group()
    assert shared["loss"].item() == pytest.approx(plain["loss"].item(), rel=1e-6)
    for ours, theirs in zip(twin.parameters(), model.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad)


METHODS: dict[str, Callable[[MultitaskBert], Any]] = {
    "plain": lambda _model: Objective(),
    "smart off": lambda model: Objective([Adversarial(**BALL), Bregman(model)]),
    "smart shared": lambda model: Objective(
        [Adversarial(dropout="shared", **BALL), Bregman(model, dropout="shared")]
    ),
    "smart independent": lambda _model: Objective([Adversarial(dropout="independent", **BALL)]),
    "r3f": lambda _model: Objective([R3F(sigma=0.01)]),
    "r4f": lambda _model: Objective([R3F(sigma=0.01, normalized_heads=True)]),
    "freelb": lambda _model: FreeLB(steps=3),
}


@pytest.mark.usefixtures("padding")
@pytest.mark.parametrize("autocast", [None, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_replayed_steps_are_the_steps_as_ever(
    tiny: EncoderConfig, name: str, autocast: torch.dtype | None
) -> None:
    """Twenty losses with dropout, at the head size of published encoders."""
    shape = dataclasses.replace(tiny, hidden_size=128, num_attention_heads=2)
    first = make_model(make_encoder(shape), ["sts"], autocast=autocast)
    if name == "r4f":
        spectral.normalize(first.head_chain("sts"))
    data, found = random_dataset("sts", 24), []
    for replays in (False, True):
        model = copy.deepcopy(first).cuda()
        objective: Any = METHODS[name](model)
        if replays:
            objective = graphed(objective, model.device, readable=False)
        optimizer, values = AdamW(model.parameters(), lr=1e-3), []
        for step in range(20):
            rows = np.arange(8) + 8 * (step % 3)
            values.append(objective.backward(model, data.batch(rows, model.device), step)["loss"])
            optimizer.step()
            optimizer.zero_grad()
            objective.after_step(model)
        found.append(torch.stack(values).tolist())
    assert any(isinstance(known, Recording) for known in objective._known.values())
    assert found[1] == pytest.approx(found[0], abs=1e-3)


def test_a_replayed_step_does_not_wait_for_the_device(tiny: EncoderConfig) -> None:
    model = make_model(make_encoder(tiny), ["sts"]).cuda()
    objective = graphed(METHODS["smart off"](model), model.device, readable=False)
    batch = random_dataset("sts", 8).batch(np.arange(8), model.device)
    for seed in range(3):
        objective.backward(model, batch, seed)
        model.zero_grad()
    with waits_forbidden():
        objective.backward(model, batch, 3)


def test_what_waits_cannot_be_recorded_and_training_goes_on(
    tiny: EncoderConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_model(make_encoder(tiny), ["sts"]).cuda()
    batch = random_dataset("sts", 8).batch(np.arange(8), model.device)
    term = Adversarial()
    monkeypatch.setattr(term, "loss", lambda *_: torch.tensor(batch.labels.sum().item()).cuda())
    objective = graphed(Objective([term]), model.device, readable=False)
    values = [float(objective.backward(model, batch, 7)["loss"]) for _ in range(4)]
    assert values == pytest.approx([values[0]] * 4, abs=1e-5)
    assert len(caplog.records) == 1
    assert not torch.equal(model(batch, mask_seed=1), model(batch, mask_seed=2))


def test_split_products_are_nearly_as_exact_as_fp32s_own() -> None:
    """As on a CPU (tests/encoder/test_split_products.py); a tensor core cuts the numbers itself."""
    x, w = torch.randn(256, 768).cuda(), torch.randn(512, 768).cuda()
    exact, size = x.double() @ w.double().T, x.double().abs() @ w.double().abs().T
    split, own, cut = (
        ((found.double() - exact).abs() / size).max().item()
        for found in (split_product(x, w), x @ w.T, _cut(x) @ _cut(w).T)
    )
    assert split < max(4 * own, 2.0**-21) and split < cut / 20

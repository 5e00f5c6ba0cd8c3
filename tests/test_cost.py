"""What a training step costs in forward units: forward 1, input gradient 1, weight gradient 1.

Floating-point operations are counted, not timed, and nothing is computed: under `FakeTensorMode` a
model of full width has shapes only. The counter has no formula for the fused CPU kernel, so the
reference attention is counted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from minbert import spectral
from minbert.batching import Batch, Padded
from minbert.bert import BertModel
from minbert.build import build_head
from minbert.encoder_config import EncoderConfig
from minbert.model import MultitaskBert
from minbert.objective import Objective
from minbert.regularizers.base import TrainingPass
from minbert.regularizers.bregman import Bregman
from minbert.regularizers.freelb import FreeLB
from minbert.regularizers.r3f import R3F
from minbert.regularizers.smart import Adversarial
from minbert.tasks import TASKS

# copying a model without data asks for its tensors' addresses, which they have not
pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")

LENGTH, SIZE = 64, 768  # tokens, hidden size


@pytest.fixture(autouse=True)
def no_arithmetic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A copied tensor stays in the one mode: by default the mode would be copied with it."""
    monkeypatch.setattr(FakeTensorMode, "__deepcopy__", lambda mode, _memo: mode, raising=False)
    with FakeTensorMode():
        yield


def wide_model(layers: int = 2, *, rate: float = 0.1, frozen: bool = False) -> MultitaskBert:
    shape = EncoderConfig(
        vocab_size=100,
        num_hidden_layers=layers,
        hidden_dropout_prob=rate,
        attention_probs_dropout_prob=rate,
    )
    own = {name: build_head(TASKS[name], SIZE, 2, rlayer=False) for name in ("sst", "para")}
    encoder = BertModel(shape, "reference")
    return MultitaskBert(encoder, own, head_dropout=rate, frozen_encoder=frozen)


def wide_batch(task: str = "para") -> Batch:
    views = 1 if task == "sst" else 2
    ids = torch.ones(2, LENGTH, dtype=torch.long)
    size = 2 // views
    tokens = Padded(ids, ids, torch.zeros_like(ids), ids.numel())
    return Batch(TASKS[task], ("a", "b")[:size], torch.zeros(size), views, tokens)


def flops(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def units(model: MultitaskBert, objective: Objective, task: str = "para") -> float:
    """A step's operations over a forward pass's."""
    batch = wide_batch(task)
    forward = flops(lambda: model(batch, mask_seed=1))
    return flops(lambda: objective.backward(model, batch, 1)) / forward


def adversarial(dropout: str, steps: int = 1) -> Adversarial:
    return Adversarial(dropout=dropout, steps=steps)


def check_costs(layers: int) -> None:
    model = wide_model(layers)
    standard = units(model, Objective())
    assert 2.9 < standard <= 3.01
    for dropout, most in (("shared", 8.05), ("off", 11.05)):
        alone = units(model, Objective([adversarial(dropout)]))
        both = units(model, Objective([adversarial(dropout), Bregman(model, dropout=dropout)]))
        assert most - 0.2 < alone <= most
        assert 0.9 < both - alone <= 1.01


def test_smart_costs_what_it_must() -> None:
    check_costs(layers=2)


@pytest.mark.slow
def test_smart_costs_what_it_must_with_twelve_layers() -> None:
    check_costs(layers=12)


def test_a_single_text_costs_the_same_units_as_a_pair() -> None:
    model = wide_model()
    assert units(model, Objective([adversarial("shared")]), "sst") <= 8.05


@pytest.mark.parametrize(("dropout", "most"), [("shared", 4.02), ("off", 7.02)])
def test_bregman_alone(dropout: str, most: float) -> None:
    model = wide_model()
    cost = units(model, Objective([Bregman(model, dropout=dropout)]))
    assert most - 0.1 < cost <= most


def test_independent_masks_cost_what_shared_ones_do() -> None:
    model = wide_model()
    both = [units(model, Objective([adversarial(each)])) for each in ("shared", "independent")]
    assert both[0] == both[1]


def test_a_step_of_ascent_takes_input_gradients_only() -> None:
    """Forward 1, input gradient 1, and nothing for the weights."""
    model = wide_model()
    costs = [units(model, Objective([adversarial("shared", steps)])) for steps in (0, 1, 2)]
    assert costs[0] == pytest.approx(6, abs=0.02)
    assert 1.9 < costs[1] - costs[0] < 2.05
    assert costs[2] - costs[1] == pytest.approx(costs[1] - costs[0], abs=1e-3)


def test_where_all_dropout_is_zero_off_costs_what_shared_does() -> None:
    model = wide_model(rate=0.0)
    costs = {}
    for dropout in ("off", "shared"):
        terms = [adversarial(dropout), Bregman(model, dropout=dropout)]
        costs[dropout] = units(model, Objective(terms))
    assert costs["off"] == costs["shared"] <= 9.05


def test_lowered_precision_costs_the_exact_branch_once_for_both_terms() -> None:
    """The training pass is then no branch: shared costs what off costs."""
    model = wide_model()
    off = [adversarial("off"), Bregman(model, dropout="off")]
    expected = units(model, Objective(off))
    model._autocast = torch.bfloat16
    for dropout in ("off", "shared"):
        terms = [adversarial(dropout), Bregman(model, dropout=dropout)]
        assert units(model, Objective(terms)) == pytest.approx(expected, abs=1e-6)


def test_clean_branch_is_computed_once() -> None:
    model, batch = wide_model(), wide_batch()
    forward = flops(lambda: model(batch, mask_seed=1))
    record = TrainingPass(model, batch, 1)
    assert flops(lambda: record.clean_branch("off")) == forward
    assert flops(lambda: record.clean_branch("off")) == 0


def test_kept_features_cost_no_encoder() -> None:
    """A step of the frozen option is the head's work: thousands of times less than a forward."""
    model, batch = wide_model(frozen=True), wide_batch()
    forward = flops(lambda: model(batch, mask_seed=1))
    kept = dataclasses.replace(batch, tokens=None, features=torch.zeros(2, 1, SIZE))
    for terms in ([], [Bregman(model, dropout="off")]):
        step = flops(lambda terms=terms: Objective(terms).backward(model, kept, 1))
        head = 2 * 3 * SIZE  # multiplications and additions of one example's logit
        assert 0 < step <= 8 * head < forward / 1000


def test_frozen_encoder_takes_no_weight_gradients() -> None:
    assert units(wide_model(frozen=True), Objective()) <= 1.01


@pytest.mark.parametrize(
    ("dropout", "most"), [("independent", 6.02), ("shared", 6.02), ("off", 9.02)]
)
def test_r3f_costs_what_it_must(dropout: str, most: float) -> None:
    model = wide_model()
    cost = units(model, Objective([R3F(dropout=dropout)]))
    assert most - 0.2 < cost <= most


@pytest.mark.parametrize(("steps", "most"), [(1, 3.01), (2, 6.05), (3, 9.08)])
def test_freelb_costs_what_it_must(steps: int, most: float) -> None:
    model = wide_model()
    batch = wide_batch()
    forward = flops(lambda: model(batch, mask_seed=1))
    cost = flops(lambda: FreeLB(steps=steps).backward(model, batch, 1)) / forward
    assert most - 0.2 < cost <= most


def test_r4f_costs_hardly_more_than_r3f() -> None:
    model = wide_model()
    spectral.normalize([model.heads])
    assert units(model, Objective([R3F(normalized_heads=True)])) <= 6.1

"""An objective that ranks share: the parts of a batch add up to the whole."""

from __future__ import annotations

import pytest
import torch

from minbert.regularizers.objective import Objective
from minbert.regularizers.smart.adversarial import Adversarial
from minbert.support.signals import StopRequest
from minbert.training import ranks
from minbert.training.shared import SharedObjective
from tests.helpers import TINY
from tests.regularizers.test_smart import hold_noise
from tests.tiny_models import Case, tiny_batch, tiny_model


@pytest.mark.parametrize("case", [Case("sst", "bi"), Case("para", "relational"), Case("sts", "bi")])
@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("terms", [[], [Adversarial(epsilon=0.02, sigma=0.01)]], ids=len)
def test_parts_add_up_to_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch, case: Case, count: int, terms: list[Adversarial]
) -> None:
    """In float64, of 4 examples; 5 ranks are more than there are. Noise is the same everywhere."""
    batch = tiny_batch(case, lengths=[7, 4, 5, 3] * case.views)
    noise = torch.randn(batch.views, 4, 7, TINY.hidden_size, dtype=torch.float64)
    model = tiny_model(case, dropout=0, head_dropout=0)
    objective = Objective(terms)
    hold_noise(monkeypatch, 0.01 * noise.flatten(0, 1))
    plain = objective.backward(model, batch, seed=1)
    whole = [own.grad.reshape(-1) for own in model.parameters() if own.grad is not None]
    shared = SharedObjective(objective, StopRequest())
    parts: list[torch.Tensor] = []
    monkeypatch.setattr(ranks, "size", lambda: count)
    monkeypatch.setattr(ranks, "summed", lambda tensor: parts.append(tensor.clone()) or tensor)
    for number in range(count):
        model.zero_grad()  # to None: what `whole` holds stays
        monkeypatch.setattr(ranks, "rank", lambda number=number: number)
        own = noise if count > 4 else noise[:, number::count]
        longest = 7 if count > 4 else int(batch.part(number, count).tokens.lengths.max())
        hold_noise(monkeypatch, 0.01 * own[:, :, :longest].flatten(0, 1))
        values = shared.backward(model, batch, seed=1)
    expected = [*whole, *(value.reshape(1) for value in plain.values())]
    torch.testing.assert_close(sum(parts), torch.cat(expected), rtol=1e-8, atol=1e-10)
    assert values.keys() == plain.keys()

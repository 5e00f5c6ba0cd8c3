"""A plan cuts the order of tasks into epochs, the last of which `total_steps` may end early."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from minbert.training.plan import Evaluation, Plan
from tests.helpers import make_order

STEPS = 12  # an epoch: 3 tasks with 4 batches each


def plan(total_steps: int) -> Plan:
    lengths = {task: np.full(8, 5) for task in ("sst", "para", "sts")}
    return Plan(
        order=make_order("equal", lengths, 2, 0),
        draw=lambda _task, rows: rows,
        learning_rate=lambda _step: 1e-3,
        evaluate=lambda _model: Evaluation({}, 0.0, {}),
        total_steps=total_steps,
        seed=0,
    )


@pytest.mark.parametrize("total_steps", [1, STEPS - 1, STEPS, STEPS + 1, 3 * STEPS])
def test_epochs_follow_each_other_and_end_with_the_last_step(total_steps: int) -> None:
    made = plan(total_steps)
    bounds = [made.bounds(epoch) for epoch in range(made.epochs)]
    assert bounds[0][0] == 0 and bounds[-1][1] == total_steps
    for (_, last), (first, _) in pairwise(bounds):
        assert first == last
    assert all(0 < last - first <= STEPS for first, last in bounds)

"""An objective that ranks share: what they add up is the whole batch's, in float64."""

from __future__ import annotations

import pytest

from minbert.training import group
from tests.training import sharing


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_ranks_are_one_process(forked_ranks: None, count: int) -> None:
    """Without dropout and noise, for all that can train: gradients, and some steps."""
    assert group.launch(count, sharing.check_all) == count

"""Public implementations of SMART and R3F as rows of choices: what `--compat` names.

The dropout policies, noise and numbers they run with are flags (`finetune/presets.py`); here is
what is no flag because no one should want it but to measure it. docs/regularizers.md has the
figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from minbert.regularizers import published
from minbert.regularizers.base import Divergence
from minbert.regularizers.r3f import R3FChoices
from minbert.regularizers.smart import SmartChoices
from minbert.tasks import losses
from minbert.tasks.course import Task


def _by_kind(classes: Divergence, regression: Divergence) -> Callable[[Task], Divergence]:
    """One divergence for labels that are classes, one for a regression."""
    return lambda task: regression if task.divergence is losses.squared_distance else classes


def _always(divergence: Divergence) -> Callable[[Task], Divergence]:
    return lambda _task: divergence


SMART: Mapping[str, SmartChoices] = {
    "paper": SmartChoices(),
    # mt-dnn, mt_dnn/perturbation.py and loss.py
    "mtdnn": SmartChoices(
        clipped_start=False,
        climbed=_by_kind(published.odds_divergence, published.summed_square),
        step=published.renormalized,
        penalty=_by_kind(published.mean_half_kl, published.square_of_all_pairs),
        embedded_twice=True,
    ),
    # smart-pytorch 0.0.4, with the two losses that its example passes
    "smart-pytorch": SmartChoices(
        clipped_start=False,
        climbed=_always(published.mean_kl),
        step=published.renormalized,
        penalty=_always(published.summed_half_kl),
    ),
}

R3F: Mapping[str, R3FChoices] = {
    "paper": R3FChoices(),
    # fairseq, examples/rxf; for a regression it computes the noised pass and leaves the term out
    "fairseq": R3FChoices(divergence=_always(published.two_kls), detached_words=True),
}


def sees(divergence: Callable[[Task], Divergence], task: Task) -> bool:
    """Whether two different outputs of a task are anything but 0 apart."""
    outputs = torch.arange(1.0, task.num_outputs + 1)[None]  # (1, k)
    return bool(divergence(task)(outputs, -outputs) != 0)

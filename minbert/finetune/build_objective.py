"""From a `RunConfig` to what a step minimises."""

from __future__ import annotations

from collections.abc import Callable

from minbert.finetune.config import RunConfig
from minbert.model import MultitaskBert
from minbert.regularizers import variants
from minbert.regularizers.base import Divergence, Regularizer
from minbert.regularizers.bregman import Bregman
from minbert.regularizers.freelb import FreeLB
from minbert.regularizers.objective import Objective
from minbert.regularizers.r3f import R3F
from minbert.regularizers.smart import Adversarial
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.flags import PerTask, for_task
from minbert.tasks.course import TASKS, Task
from minbert.training.optimizer import warmup_steps


def build_objective(config: RunConfig, model: MultitaskBert, steps: int) -> Objective | FreeLB:
    """The objective of a run of so many steps. Raises InputError for a term that is always 0."""
    if config.freelb:
        return FreeLB(
            steps=config.freelb_steps,
            step_size=config.freelb_lr,
            init=config.freelb_init,
            radius=config.freelb_radius,
        )
    return Objective(_regularizers(config, model), warmup_steps(config.term_warmup, steps))


def _regularizers(config: RunConfig, model: MultitaskBert) -> list[Regularizer]:
    terms: list[Regularizer] = []
    if config.r3f or config.r4f:
        r3f = variants.R3F.get(config.compat, variants.R3F["paper"])
        terms.append(
            R3F(
                weight=_seen_weight(config, config.r3f_lambda, r3f.divergence),
                noise=config.r3f_noise,
                sigma=config.r3f_sigma,
                dropout=config.r3f_dropout,
                normalized_heads=config.r4f,
                choices=r3f,
            )
        )
    if config.smart and not config.no_adversarial:
        smart = variants.SMART.get(config.compat, variants.SMART["paper"])
        terms.append(
            Adversarial(
                weight=_seen_weight(config, config.smart_lambda, smart.penalty),
                epsilon=config.smart_epsilon,
                sigma=config.smart_sigma,
                eta=config.smart_eta,
                steps=config.smart_steps,
                dropout=config.smart_dropout,
                reuse_clean=config.smart_reuse_clean,
                choices=smart,
            )
        )
    if config.smart and not config.no_bregman:
        terms.append(
            Bregman(
                model,
                weight=config.bregman_mu,
                beta=config.bregman_beta,
                dropout=config.smart_dropout,
            )
        )
    return terms


def _seen_weight(
    config: RunConfig, weight: PerTask, divergence: Callable[[Task], Divergence]
) -> PerTask:
    """The weight without the tasks for which this divergence is 0 whatever the outputs.

    Raises InputError where it is so for all that have a weight.
    """
    if config.compat == "paper":  # a task's own divergence tells its outputs apart
        return weight
    weighted = [name for name in config.trained_tasks if for_task(weight, name) > 0]
    blind = [name for name in weighted if not variants.sees(divergence, TASKS[name])]
    if not blind:
        return weight
    why = f"--compat {config.compat} takes a softmax over a task's outputs, and over one that is 1"
    if blind == weighted:
        raise InputError(f"{why}: the term is always 0 for {', '.join(blind)}, which alone have it")
    log.info("%s: %s get no such term", why, ", ".join(blind))
    return {name: for_task(weight, name) for name in weighted if name not in blind}

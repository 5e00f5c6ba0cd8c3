"""SMART as the main job offers it: its flags, and its two terms built from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minbert.model import MultitaskBert
from minbert.regularizers import published
from minbert.regularizers.base import Regularizer
from minbert.regularizers.method import Method, Recipe, seen_weight
from minbert.regularizers.smart.adversarial import Adversarial, SmartChoices
from minbert.regularizers.smart.bregman import Bregman
from minbert.support.errors import InputError
from minbert.support.flags import NOT_NEGATIVE, POSITIVE, RATE, PerTask, When, flag
from minbert.tasks.registry import TASKS

GROUP = "SMART (--smart; Jiang et al. 2020)"

# Where public implementations compute something else than the paper (docs/regularizers.md).
CHOICES: Mapping[str, SmartChoices] = {
    # mt-dnn, mt_dnn/perturbation.py and loss.py
    "mtdnn": SmartChoices(
        clipped_start=False,
        climbed=published.by_kind(published.odds_divergence, published.summed_square),
        step=published.renormalized,
        penalty=published.by_kind(published.mean_half_kl, published.square_of_all_pairs),
        embedded_twice=True,
    ),
    # smart-pytorch 0.0.4, with the two losses that its example passes
    "smart-pytorch": SmartChoices(
        clipped_start=False,
        climbed=published.always(published.mean_kl),
        step=published.renormalized,
        penalty=published.always(published.summed_half_kl),
    ),
}
# The flags that they run with. None has a proximal term.
_IMPLEMENTATIONS: Mapping[str, Mapping[str, Any]] = {
    "mtdnn": {
        "no_bregman": True,
        "smart_dropout": "independent",
        "smart_lambda": 1.0,
        "smart_eta": 1e-5,
    },
    "smart-pytorch": {"no_bregman": True, "smart_dropout": "independent", "smart_lambda": 0.02},
}
_ONE_OUTPUT = tuple(name for name, task in TASKS.items() if task.num_outputs == 1)

_ON = When(lambda c: c.smart, "--smart")
_ADVERSARIAL = (
    _ON,
    When(lambda c: not c.no_adversarial, "the adversarial term (--no_adversarial)"),
)
_STEPS = When(lambda c: c.smart_steps > 0, "--smart_steps above 0")
_PROXIMAL = When(lambda c: c.compat not in CHOICES, "--compat paper: the others have no such term")
_BREGMAN = (
    _ON,
    _PROXIMAL,
    When(lambda c: not c.no_bregman, "the Bregman term (--no_bregman)"),
)


@dataclass(frozen=True)
class SmartFlags:
    """The flags of SMART's adversarial and Bregman proximal terms."""

    smart: bool = flag(False, GROUP, "add SMART's adversarial and Bregman proximal terms")
    smart_lambda: PerTask = flag(
        5.0,
        GROUP,
        "weight of the adversarial term",
        limit=POSITIVE,
        metavar="W",
        acts=_ADVERSARIAL,
    )
    smart_epsilon: float = flag(
        1e-5,
        GROUP,
        "radius of the perturbation, in the word embeddings' unit (L-infinity)",
        limit=POSITIVE,
        metavar="R",
        acts=[
            _ON,
            When(lambda c: c.compat not in CHOICES, "--compat paper: the others have no ball"),
            *_ADVERSARIAL,
        ],
    )
    smart_sigma: float = flag(
        1e-5,
        GROUP,
        "standard deviation of its random start",
        limit=POSITIVE,
        metavar="S",
        acts=_ADVERSARIAL,
    )
    smart_eta: float = flag(
        1e-3,
        GROUP,
        "size of an ascent step",
        limit=POSITIVE,
        metavar="STEP",
        acts=[*_ADVERSARIAL, _STEPS],
    )
    smart_steps: int = flag(
        1, GROUP, "ascent steps", limit=NOT_NEGATIVE, metavar="N", acts=_ADVERSARIAL
    )
    smart_dropout: str = flag(
        "off",
        GROUP,
        "masks of both branches of a divergence: off, no dropout; shared, the training pass's; "
        "independent, fresh ones for the perturbed branch",
        choices=("off", "shared", "independent"),
        acts=[_ON],
    )
    smart_reuse_clean: bool = flag(
        False,
        GROUP,
        f"tasks of one output ({', '.join(_ONE_OUTPUT)}): take the first ascent step's gradient "
        "from the clean pass. One forward pass less, and the same perturbation to first order in "
        "--smart_sigma",
        acts=[
            *_ADVERSARIAL,
            _STEPS,
            When(
                lambda c: any(TASKS[name].num_outputs == 1 for name in c.trained_tasks),
                f"{' or '.join(_ONE_OUTPUT)} to train",
            ),
            When(lambda c: c.compat not in CHOICES, "--compat paper"),
            When(lambda c: c.option == "finetune", "--option finetune"),
            When(
                lambda c: c.smart_dropout != "independent",
                "the same masks in both branches (--smart_dropout off or shared)",
            ),
        ],
    )
    bregman_mu: PerTask = flag(
        1.0,
        GROUP,
        "weight of the Bregman proximal term",
        limit=POSITIVE,
        metavar="W",
        acts=_BREGMAN,
    )
    bregman_beta: float = flag(
        0.995,
        GROUP,
        "momentum of the average of past weights, to which the model is kept close",
        limit=RATE,
        metavar="BETA",
        acts=_BREGMAN,
    )
    bregman_beta_late: float | None = flag(
        None,
        GROUP,
        "that momentum after the first tenth of all steps; default: the same throughout (the "
        "paper: .99, then .999)",
        limit=RATE,
        metavar="BETA",
        acts=_BREGMAN,
    )
    bregman_dropout: str | None = flag(
        None,
        GROUP,
        "the Bregman term's masks, as in --smart_dropout, which is also its default",
        choices=("off", "shared", "independent"),
        acts=_BREGMAN,
    )
    no_adversarial: bool = flag(False, GROUP, "leave the adversarial term out", acts=[_ON])
    no_bregman: bool = flag(
        False, GROUP, "leave the Bregman proximal term out", acts=[_ON, _PROXIMAL]
    )


def _check(config: Any) -> None:
    """Raise InputError where no term is left."""
    if config.no_adversarial and config.compat in CHOICES:
        raise InputError(
            f"--no_adversarial --compat {config.compat}: nothing is left of --smart, since that "
            "implementation has no other term"
        )
    if config.no_adversarial and config.no_bregman:
        raise InputError("--no_adversarial --no_bregman: nothing is left of --smart")


def _terms(config: Any, model: MultitaskBert) -> list[Regularizer]:
    """The adversarial term, the proximal term, or both."""
    terms: list[Regularizer] = []
    if not config.no_adversarial:
        choices = CHOICES.get(config.compat, SmartChoices())
        adversarial = Adversarial(
            weight=seen_weight(config, config.smart_lambda, choices.penalty),
            epsilon=config.smart_epsilon,
            sigma=config.smart_sigma,
            eta=config.smart_eta,
            steps=config.smart_steps,
            dropout=config.smart_dropout,
            reuse_clean=config.smart_reuse_clean,
            choices=choices,
        )
        terms.append(adversarial)
    if not config.no_bregman:
        dropout = config.bregman_dropout or config.smart_dropout
        betas = {"beta": config.bregman_beta, "late_beta": config.bregman_beta_late}
        terms.append(Bregman(model, weight=config.bregman_mu, dropout=dropout, **betas))
    return terms


# Section 4.2 of the paper, "Implementation details".
_RECIPE = Recipe(
    "smart",
    "clip 1, 10% warm-up, linear decay, the Bregman term's beta .99 and after a tenth .999",
    lambda _tasks: {
        "clip": 1.0,
        "warmup": 0.1,
        "schedule": "linear",
        "bregman_beta": 0.99,
        "bregman_beta_late": 0.999,
    },
)
SMART = Method(
    SmartFlags,
    ("smart",),
    check=_check,
    terms=_terms,
    whole_batch=lambda config: config.smart and config.compat in CHOICES,
    implementations=_IMPLEMENTATIONS,
    recipe=_RECIPE,
)

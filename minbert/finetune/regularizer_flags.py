"""The flags of the regularizers."""

from __future__ import annotations

from dataclasses import dataclass

from minbert.support.flags import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, RATE, PerTask, flag

TERMS, SMART, R3F, FREELB = (
    "regularizers",
    "SMART (--smart; Jiang et al. 2020)",
    "R3F and R4F (--r3f, --r4f; Aghajanyan et al. 2021)",
    "FreeLB (--freelb; Zhu et al. 2020)",
)
SMART_VARIANTS, R3F_VARIANTS = ("mtdnn", "smart-pytorch"), ("fairseq",)


@dataclass(frozen=True)
class RegularizerFlags:
    """SMART, R3F, R4F and FreeLB."""

    term_warmup: float = flag(
        0.0,
        TERMS,
        "fraction of all steps in which the weights of SMART's and R3F's terms rise linearly from "
        "0. A weight can be a task's own, as in --smart_lambda sst=5,sts=1: tasks not named go "
        "without the term",
        limit=RATE,
        metavar="FRACTION",
    )

    compat: str = flag(
        "paper",
        TERMS,
        "whose formulas: paper, the papers' own; else those of a public implementation, errors and "
        "defaults included, to measure the difference: mtdnn or smart-pytorch for --smart (without "
        "the Bregman term, which they lack), fairseq for --r3f and --r4f. See docs/regularizers.md",
        choices=("paper", *SMART_VARIANTS, *R3F_VARIANTS),
    )

    smart: bool = flag(False, SMART, "add SMART's adversarial and Bregman proximal terms")
    smart_lambda: PerTask = flag(
        5.0, SMART, "weight of the adversarial term", limit=POSITIVE, metavar="W"
    )
    smart_epsilon: float = flag(
        1e-5,
        SMART,
        "radius of the perturbation, in the word embeddings' unit (L-infinity)",
        limit=POSITIVE,
        metavar="R",
    )
    smart_sigma: float = flag(
        1e-5,
        SMART,
        "standard deviation of its random start",
        limit=POSITIVE,
        metavar="S",
    )
    smart_eta: float = flag(1e-3, SMART, "size of an ascent step", limit=POSITIVE, metavar="STEP")
    smart_steps: int = flag(1, SMART, "ascent steps", limit=NOT_NEGATIVE, metavar="N")
    smart_dropout: str = flag(
        "off",
        SMART,
        "masks of both branches of a divergence: off, no dropout; shared, the training pass's; "
        "independent, fresh ones for the perturbed branch",
        choices=("off", "shared", "independent"),
    )
    smart_reuse_clean: bool = flag(
        False,
        SMART,
        "tasks of one output (para, sts): take the first ascent step's gradient from the clean "
        "pass. One forward pass less, and the same perturbation to first order in --smart_sigma",
    )
    bregman_mu: PerTask = flag(
        1.0, SMART, "weight of the Bregman proximal term", limit=POSITIVE, metavar="W"
    )
    bregman_beta: float = flag(
        0.995,
        SMART,
        "momentum of the averaged weights that it stays close to",
        limit=RATE,
        metavar="BETA",
    )
    no_adversarial: bool = flag(False, SMART, "leave the adversarial term out")
    no_bregman: bool = flag(False, SMART, "leave the Bregman proximal term out")

    r3f: bool = flag(
        False, R3F, "add R3F's term: the divergence from a noised copy of each example"
    )
    r4f: bool = flag(
        False,
        R3F,
        "R3F's term, and the head's weight matrices divided by their largest singular values",
    )
    r4f_scope: str = flag(
        "head",
        R3F,
        "with --rlayer, matrices that are: head, all of it, the layer included; last, the output's",
        choices=("head", "last"),
    )
    r3f_lambda: PerTask = flag(
        1.0, R3F, "weight of the term (the paper's: .1, .5, 1, 5)", limit=POSITIVE, metavar="W"
    )
    r3f_noise: str = flag(
        "normal",
        R3F,
        "normal: standard deviation --r3f_sigma; uniform: between minus and plus --r3f_sigma",
        choices=("normal", "uniform"),
    )
    r3f_sigma: float = flag(
        1e-5, R3F, "size of the noise, in the word embeddings' unit", limit=POSITIVE, metavar="S"
    )
    r3f_dropout: str = flag(
        "independent",
        R3F,
        "masks of both branches: independent, as the published code has it (which measures dropout "
        "more than noise: see r3f_of_dropout and r3f_of_noise in the log); shared, the training "
        "pass's; off, no dropout",
        choices=("independent", "shared", "off"),
    )

    freelb: bool = flag(
        False,
        FREELB,
        "train on the mean loss along an ascent in the embeddings, instead of the plain loss",
    )
    freelb_steps: int = flag(
        2, FREELB, "passes; the embeddings move between them", limit=AT_LEAST_ONE, metavar="K"
    )
    freelb_lr: PerTask = flag(
        0.1, FREELB, "size of an ascent step (Frobenius norm)", limit=POSITIVE, metavar="STEP"
    )
    freelb_init: PerTask | None = flag(
        None,
        FREELB,
        "magnitude of the random start; default as published, sst=1,para=.32,sts=.16",
        limit=NOT_NEGATIVE,
        metavar="M",
    )
    freelb_radius: PerTask | None = flag(
        None,
        FREELB,
        "radius of the ball (Frobenius norm); default as published, sst=.6,para=.7,sts=.28",
        limit=POSITIVE,
        metavar="R",
    )

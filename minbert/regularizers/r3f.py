"""R3F and R4F, fine-tuning with noise in place of an adversary (Aghajanyan et al. 2021, sec. 2)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.regularizers import published, spectral
from minbert.regularizers.base import Divergence, Regularizer, TrainingPass, tasks_divergence
from minbert.regularizers.method import Method, Recipe, seen_weight
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.flags import NOT_NEGATIVE, POSITIVE, PerTask, When, flag
from minbert.support.randomness import derive_seed, generator
from minbert.tasks.task import Task

GROUP = "R3F and R4F (--r3f, --r4f; Aghajanyan et al. 2021)"


@dataclass(frozen=True)
class R3FChoices:
    """Where the published code differs from the paper, whose choices are the defaults."""

    divergence: Callable[[Task], Divergence] = tasks_divergence  # of (noised, clean) logits
    detached_words: bool = False  # the noised branch's gradient stops before the word embeddings


class R3F(Regularizer):
    """mean l_s(f(x), f(x + z)), with z ~ N(0, σ²I) or U(-σ, σ): noise instead of an adversary.

    x are the word embeddings of an example's real tokens (padding gets no noise), f the rest of
    the model, l_s the task's divergence; gradients flow through both branches. The paper has the
    symmetric KL, which is undefined for a regression; there l_s is the squared error.

    Clean and noised examples go through the encoder together, each with dropout masks of its own
    (`independent`), as in the published code: at σ = 1e-5 the term then measures dropout far more
    than noise, which `probe` puts into the log.
    """

    perturbs_inputs = True
    recordable = True

    def __init__(
        self,
        *,
        weight: PerTask = 1.0,
        noise: str = "normal",
        sigma: float = 1e-5,
        dropout: str = "independent",
        normalized_heads: bool = False,
        choices: R3FChoices = R3FChoices(),
    ) -> None:
        """`weight` is λ; `noise` normal or uniform; `dropout` a policy of `TrainingPass`.

        `normalized_heads` makes it R4F's: the heads are normalised (`spectral.py`), and what that
        rests on follows the weights after each step.
        """
        self.name = "r4f" if normalized_heads else "r3f"
        self.weight, self.noise, self.sigma, self.dropout = weight, noise, sigma, dropout
        self.replays_masks = dropout == "shared"
        self._choices = choices

    def copy(self, batch: Batch, embeddings: Tensor | None, seed: int) -> Tensor | None:
        """The noised examples' embeddings: x + z at real tokens."""
        if embeddings is None:
            return None
        assert batch.tokens is not None
        source = generator(derive_seed(seed, "r3f noise"), embeddings.device)
        noise = torch.empty_like(embeddings).detach()
        if self.noise == "normal":
            noise.normal_(generator=source)
        else:
            noise.uniform_(-1, 1, generator=source)
        real = batch.tokens.attention_mask.unsqueeze(-1)  # (V·B, T, 1)
        if self._choices.detached_words:
            embeddings = embeddings.detach()
        return embeddings + self.sigma * noise * real

    def loss(self, _model: MultitaskBert, batch: Batch, training: TrainingPass) -> Tensor:
        """The term for this batch, a scalar."""
        target, logits = training.pair_logits(self.name, self.dropout)
        return self._choices.divergence(batch.task)(logits, target)

    @torch.no_grad()
    def probe(
        self, model: MultitaskBert, batch: Batch, training: TrainingPass
    ) -> dict[str, Tensor]:
        """What the term would be of dropout alone, and of noise alone (shared masks)."""
        divergence = self._choices.divergence(batch.task)
        plain = model(batch, training.embeddings, mask_seed=training.seed)
        other = derive_seed(training.seed, "probe")
        of_dropout = model(batch, training.embeddings, mask_seed=other)
        of_noise = model(batch, training.copies[self.name], mask_seed=training.seed)
        return {
            f"{self.name}_of_dropout": divergence(of_dropout, plain),
            f"{self.name}_of_noise": divergence(of_noise, plain),
        }

    def after_step(self, model: MultitaskBert) -> None:
        """Let normalised heads follow their weights."""
        spectral.refresh(model)


# fairseq, examples/rxf; for a regression it computes the noised pass and leaves the term out
CHOICES: Mapping[str, R3FChoices] = {
    "fairseq": R3FChoices(divergence=published.always(published.two_kls), detached_words=True)
}
_IMPLEMENTATIONS: Mapping[str, Mapping[str, Any]] = {
    "fairseq": {"r3f_noise": "uniform", "r4f_scope": "last"}
}
_ON = When(lambda c: c.r3f or c.r4f, "--r3f or --r4f")


@dataclass(frozen=True)
class R3FFlags:
    """The flags of R3F and R4F."""

    r3f: bool = flag(
        False,
        GROUP,
        "add R3F's term: the divergence from a noised copy of each example",
        acts=[When(lambda c: not c.r4f, "no --r4f, which has its term already")],
    )
    r4f: bool = flag(
        False,
        GROUP,
        "R3F's term, and the head's weight matrices divided by their largest singular values",
    )
    r4f_scope: str = flag(
        "head",
        GROUP,
        "with --rlayer, which matrices are divided: head, all of the head's, the relational layer "
        "included; last, the output's",
        choices=("head", "last"),
        acts=[
            When(lambda c: c.r4f, "--r4f"),
            When(lambda c: c.rlayer, "--rlayer: else a head has but one matrix"),
        ],
    )
    r3f_lambda: PerTask = flag(
        1.0,
        GROUP,
        "weight of the term (the paper's: .1, .5, 1, 5)",
        limit=POSITIVE,
        metavar="W",
        acts=[_ON],
    )
    r3f_noise: str = flag(
        "normal",
        GROUP,
        "normal: standard deviation --r3f_sigma; uniform: between minus and plus --r3f_sigma",
        choices=("normal", "uniform"),
        acts=[_ON],
    )
    r3f_sigma: float = flag(
        1e-5,
        GROUP,
        "size of the noise, in the word embeddings' unit; 0 leaves the divergence of two dropout "
        "masks, as in R-Drop",
        limit=NOT_NEGATIVE,
        metavar="S",
        acts=[_ON],
    )
    r3f_dropout: str = flag(
        "independent",
        GROUP,
        "masks of both branches: independent, as the published code has it (which measures dropout "
        "more than noise: see r3f_of_dropout and r3f_of_noise in the log); shared, the training "
        "pass's; off, no dropout",
        choices=("independent", "shared", "off"),
        acts=[_ON],
    )


def _check(config: Any) -> None:
    """Raise InputError for a term of equal branches."""
    if (config.r3f or config.r4f) and config.r3f_sigma == 0 and config.r3f_dropout != "independent":
        raise InputError(
            f"--r3f_sigma 0 --r3f_dropout {config.r3f_dropout}: without noise, and under the same "
            "masks, the term is always 0; take --r3f_dropout independent, which is R-Drop"
        )


def _terms(config: Any, _model: MultitaskBert) -> list[Regularizer]:
    choices = CHOICES.get(config.compat, R3FChoices())
    term = R3F(
        weight=seen_weight(config, config.r3f_lambda, choices.divergence),
        noise=config.r3f_noise,
        sigma=config.r3f_sigma,
        dropout=config.r3f_dropout,
        normalized_heads=config.r4f,
        choices=choices,
    )
    return [term]


def _normalize_heads(config: Any, model: MultitaskBert) -> None:
    """R4F's spectral normalisation. Raises InputError where no trained head has a matrix."""
    if not config.r4f:
        return
    idle = [name for name in config.trained_tasks if not model.has_head_weights(name)]
    if len(idle) == len(config.trained_tasks):
        raise InputError(
            f"--r4f --tasks {','.join(idle)}: the head has no weights to normalise; add --rlayer "
            "or --cross_encoder, or take --r3f"
        )
    for name in idle:
        log.info("%s: its head has no weights to normalise, so --r4f is --r3f there", name)
    spectral.normalize([model.heads])
    if model.relational is not None and config.r4f_scope == "head":
        spectral.normalize([model.relational])


def _bounds(config: Any, model: MultitaskBert) -> str | None:
    """How far each head's outputs can move when the features that it is given move by 1."""
    if not config.r4f:
        return None
    bounds = {
        name: spectral.lipschitz_bound(model.head_chain(name))
        for name in config.evaluated_tasks
        if model.has_head_weights(name)
    }
    shown = ", ".join(f"{name} {bound:.4f}" for name, bound in bounds.items())
    return f"Lipschitz bound of the heads (product of spectral norms): {shown}"


# Table 6 of the paper. Its dropout, .1, is what config.json of published encoders says, and its eps
# is our default.
_RECIPE = Recipe(
    "r3f",
    "betas .9 .98, weight decay .01, 6% warm-up, polynomial decay of power 1",
    lambda _tasks: {
        "betas": (0.9, 0.98),
        "weight_decay": 0.01,
        "warmup": 0.06,
        "schedule": "polynomial",
        "power": 1.0,
    },
)
R3F_AND_R4F = Method(
    R3FFlags,
    ("r3f", "r4f"),
    check=_check,
    terms=_terms,
    prepare=_normalize_heads,
    remark=_bounds,
    # such branches differ by their masks; without dropout they would by rounding
    lowers=lambda c: c.r3f_dropout == "independent" and c.hidden_dropout_prob > 0,
    implementations=_IMPLEMENTATIONS,
    recipe=_RECIPE,
)

"""The effect of known wrong variants of SMART and R3F, as numbers beside the papers' own."""

import dataclasses
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.finetune.build import build
from minbert.finetune.cli import parse
from minbert.finetune.config import RunConfig
from minbert.model import MultitaskBert
from minbert.regularizers import published
from minbert.regularizers.base import Divergence, TrainingPass
from minbert.regularizers.r3f import R3F
from minbert.regularizers.smart.adversarial import Adversarial, AscentStep, SmartChoices
from minbert.reports.tables import Table, shown
from minbert.support.command import run_command, show
from minbert.support.console import ProgressBar
from minbert.support.flags import OneLineParser, add_flags
from minbert.support.randomness import derive_seed, generator
from minbert.tasks.registry import TASKS

SEED, EXAMPLES = 1, 16
CPU = torch.device("cpu")
_TASKS = ("sst", "para", "sts")
_DECIDED = shlex.split(
    f"--option finetune --rrobin --tasks {','.join(_TASKS)} --precision bf16 "
    f"--limit {EXAMPLES} --limit_rows first"
)
_FLAGS = (
    *("data_dir", *(f"{task}_{split}" for task in _TASKS for split in ("train", "dev", "test"))),
    *("max_length", "weights", "pooling", "hidden_dropout_prob", "rlayer", "cross_encoder"),
    *("readable", "seed"),
)
_DESCRIPTION = f"""\
Print what known wrong variants of SMART and R3F compute, beside what the papers' formulas compute,
on the first {EXAMPLES} training examples of {", ".join(_TASKS)}. Nothing trains. It takes a minute
on a CPU. What each row means stands in docs/regularizers.md. Typical:

  python -m minbert.experiments variants
  python -m minbert.experiments variants --weights bert-base-uncased --pooling mean
"""


@dataclass(frozen=True)
class Measured:
    """A row: what is measured, its value by the papers' formulas and by a variant."""

    what: str
    papers: float
    variant: float
    whose: str


@dataclass(frozen=True)
class Bench:
    """A model in float64, a copy in fp32 that trains in bf16, and one batch of each task."""

    model: MultitaskBert
    lowered: MultitaskBert
    batches: Mapping[str, Batch]

    def clean(self, task: str) -> TrainingPass:
        """The training pass of a task's batch."""
        return TrainingPass(self.model, self.batches[task], SEED)

    def branches(self, task: str, sigma: float) -> tuple[Tensor, Tensor]:
        """Logits of a noised and of a clean branch, without dropout."""
        batch, clean = self.batches[task], self.clean(task)
        noised = R3F(sigma=sigma).copy(batch, clean.embeddings, SEED)
        return self.model(batch, noised), clean.clean_logits("off")

    def slope(self, value: Tensor) -> float:
        """The norm of a value's gradient over all weights."""
        weights = list(self.model.parameters())
        slopes = torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True)
        return float(torch.nn.utils.get_total_norm(slopes))


def _free_step(
    delta: Tensor, gradient: Tensor, eta: float, _epsilon: float, views: int, *, constant: float
) -> Tensor:
    """δ + η g / (‖g‖_∞ + constant), with no ball to stay in."""
    by_example = gradient.unflatten(0, (views, -1))
    largest = by_example.abs().amax(dim=(0, 2, 3), keepdim=True)
    return delta + eta * (by_example / (largest + constant)).flatten(0, 1)


def radii(bench: Bench) -> list[Measured]:
    """The distance that one step of the ascent leads."""
    steps: Mapping[str, AscentStep] = {
        "no projection": partial(_free_step, constant=0.0),
        "no projection, ‖g‖ + 1e-6 in the division": partial(_free_step, constant=1e-6),
        "δ divided by its own norm": published.renormalized,
    }

    def reached(choices: SmartChoices) -> float:
        term = Adversarial(choices=choices)
        delta = term.perturbation(bench.model, bench.batches["sst"], bench.clean("sst"))
        return float(delta.abs().max()) / term.epsilon

    what, paper = "largest entry of δ over ε (sst)", reached(SmartChoices())
    return [
        Measured(what, paper, reached(SmartChoices(step=step)), whose)
        for whose, step in steps.items()
    ]


def embeddings_twice(bench: Bench) -> list[Measured]:
    """The rest of the term where nothing is perturbed."""

    def unperturbed(choices: SmartChoices) -> float:
        term = Adversarial(epsilon=1e-300, steps=0, choices=choices)
        return float(term.loss(bench.model, bench.batches["sst"], bench.clean("sst")).detach())

    once, twice = (unperturbed(SmartChoices(embedded_twice=value)) for value in (False, True))
    return [Measured("SMART's term without noise (sst)", once, twice, "embedding output fed back")]


def blind_softmaxes(bench: Bench) -> list[Measured]:
    """Divergences that see nothing of one logit."""
    ours, risen = TASKS["para"].divergence, "term where all logits rise by 1 (para)"
    s, t = (logits.detach() for logits in bench.branches("para", sigma=1e-2))
    over_batch = float(published.two_kls(s.T, s.T + 1))
    return [
        _both("R3F's term, σ = 1e-2 (para)", ours, published.two_kls, s, t, "softmax over a logit"),
        Measured(risen, float(ours(s, s + 1)), over_batch, "softmax over the batch"),
    ]


def _both(
    what: str, ours: Divergence, theirs: Divergence, s: Tensor, t: Tensor, whose: str
) -> Measured:
    return Measured(what, float(ours(s, t)), float(theirs(s, t)), whose)


def lost_gradients(bench: Bench) -> list[Measured]:
    """The share of the term's gradient that reaches the weights."""

    def relative(task: str, theirs: Divergence, whose: str) -> Measured:
        norms = [
            bench.slope(divergence(*bench.branches(task, sigma=1e-3)))
            for divergence in (theirs, TASKS[task].divergence)
        ]
        return Measured(f"gradient norm, relative ({task})", 1.0, norms[0] / norms[1], whose)

    return [
        relative("sst", published.mean_half_kl, "detached targets"),
        relative("sts", published.two_kls, "softmax, and left out, for a regression"),
    ]


def dropouts_share(bench: Bench) -> list[Measured]:
    """R3F's term at its σ over what shared masks leave of it."""
    values = []
    for dropout in ("shared", "independent"):
        term, batch = R3F(dropout=dropout), bench.batches["sst"]
        clean = TrainingPass(bench.model, batch, SEED, [term])
        values.append(float(term.loss(bench.model, batch, clean).detach()))
    what = "R3F's term, σ = 1e-5, over its part from noise (sst)"
    return [Measured(what, 1.0, values[1] / values[0], "masks that differ between branches")]


def reductions(bench: Bench) -> list[Measured]:
    """A sum over the batch, or over all its pairs, in place of a mean over examples."""
    s, t = (logits.detach() for logits in bench.branches("sst", sigma=1e-3))
    papers, summed = (
        float(divergence(s.repeat(2, 1), t.repeat(2, 1)) / divergence(s, t))
        for divergence in (TASKS["sst"].divergence, published.summed_half_kl)
    )
    what = "term of the batch twice over, relative (sst)"
    same, _ = (logits.detach() for logits in bench.branches("sts", sigma=1e-3))
    ours, pairs = TASKS["sts"].divergence, published.square_of_all_pairs
    return [
        Measured(what, papers, summed, "a sum over the batch"),
        _both("term of equal branches (sts)", ours, pairs, same, same, "squares of all pairs"),
    ]


def roundings(bench: Bench) -> list[Measured]:
    """Differences of size σ = 1e-5, as fp32 and bf16 round them."""
    s, t = (logits.detach().float() for logits in bench.branches("sst", sigma=1e-5))
    together, apart = (
        float(np.mean([float(divergence(s[i : i + 1], t[i : i + 1])) < 0 for i in range(len(s))]))
        for divergence in (TASKS["sst"].divergence, published.two_kls)
    )
    truth = _direction(bench.model, bench.batches["sst"], exact=True)
    cosines = []
    for exact in (True, False):
        direction = _direction(bench.lowered, bench.batches["sst"], exact=exact)
        cosines.append(float(torch.cosine_similarity(direction, truth, dim=-1).median()))
    what = "cosine of the ascent with float64's, median (sst)"
    return [
        Measured("share of terms below 0, fp32 (sst)", together, apart, "the two KLs apart"),
        Measured(what, cosines[0], cosines[1], "ascent in bf16"),
    ]


def _direction(model: MultitaskBert, batch: Batch, *, exact: bool) -> Tensor:
    """Each example's gradient at a start of σ = 1e-5, (B, T·H), float64."""
    x = model.embed(batch)
    assert x is not None
    source = generator(derive_seed(SEED, "direction"), CPU)
    start = 1e-5 * torch.randn(x.shape, generator=source)
    z = start.to(x).requires_grad_()
    s, t = (model(batch, x.detach() + each, exact=exact) for each in (z, torch.zeros_like(z)))
    (gradient,) = torch.autograd.grad(batch.task.divergence(s, t.detach()), z)
    return gradient.flatten(1).double()


MEASURES = (
    *(radii, embeddings_twice, blind_softmaxes, lost_gradients),
    *(dropouts_share, reductions, roundings),
)


def table(rows: Sequence[Measured]) -> str:
    """A table for stdout."""
    header = ["measured", "as in the papers", "variant", "what the variant does"]
    cells = [[row.what, f"{row.papers:.3g}", f"{row.variant:.3g}", row.whose] for row in rows]
    return shown([Table("What wrong variants compute", header, cells)])


def make_parser() -> OneLineParser:
    """A parser for the flags of the main job that say which texts and which model."""
    parser = OneLineParser(
        prog="python -m minbert.experiments variants",
        usage="%(prog)s [flags]",
        description=_DESCRIPTION,
    )
    add_flags(parser, RunConfig, _FLAGS)
    return parser


def prepare(argv: Sequence[str]) -> Bench:
    """The model and the batches that the main job's flags name. Raises InputError."""
    config = parse([*argv, *_DECIDED]).resolved({"batch_size": EXAMPLES})
    parts = build(config, CPU)
    exact = build(dataclasses.replace(config, precision="fp32"), CPU).trainee.model.double()
    everything = np.arange(EXAMPLES)
    batches = {name: parts.datasets[name, "train"].batch(everything, CPU) for name in parts.trained}
    return Bench(exact, parts.trainee.model, batches)


def measure(argv: Sequence[str]) -> None:
    """Print the table. Raises InputError."""
    make_parser().parse_args(argv)
    bench, rows = prepare(argv), []
    with ProgressBar(len(MEASURES), "variants", "measures") as bar:
        for measured in MEASURES:
            rows += measured(bench)
            bar.update(1)
    show(table(rows), end="")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    return run_command(lambda _stop: measure(arguments), "nothing was written")

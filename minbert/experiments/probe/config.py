"""The flags of `probe`: which figures, methods, chain and probes, and how much of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from minbert.experiments.grid.config import GRID, GridConfig
from minbert.experiments.grid.experiment import Scale
from minbert.experiments.probe.probes import CONVERGED, PUBLISHED
from minbert.experiments.probe.vectors import INPUTS
from minbert.support.errors import InputError
from minbert.support.flags import AT_LEAST_ONE, When, flag
from minbert.tasks.glue import GLUE
from minbert.tasks.registry import BUILT_IN

PROBE = "the probes"
STANDARD, STDPP, SMART, R3F, R4F = "standard", "stdpp", "smart", "r3f", "r4f"
METHODS: Mapping[str, str] = {  # flags of the main job
    STANDARD: "",
    STDPP: "--stdpp",
    SMART: "--smart",
    R3F: "--r3f",
    R4F: "--r4f",
}
CYCLES = 3
SOLVERS = (CONVERGED, PUBLISHED)


@dataclass(frozen=True)
class Sizes:
    """How much a scale runs: links, the rows of probes, texts for drift, published updates."""

    links: Scale
    probe_rows: int | None
    drift_texts: int
    updates: float = 1.0


SIZES: Mapping[str, Sizes] = {
    "smoke": Sizes(Scale(epochs=1, limit=64, seeds=1), 64, 60, updates=0.002),
    "small": Sizes(Scale(epochs=2, limit=4_000, seeds=3), 1_500, 600),
    "full": Sizes(Scale(epochs=10, limit=None, seeds=3), None, 1_200),
}


@dataclass(frozen=True)
class ProbeConfig(GridConfig):
    """What is trained, probed and compared."""

    scale: str = flag(
        "smoke",
        GRID,
        "smoke: minutes, to see that all works; small: hours with a small encoder, at most 4,000 "
        "rows a link and 1,500 a probe; full: all rows, ten epochs a link",
        choices=tuple(SIZES),
    )
    seeds: int | None = flag(
        None,
        GRID,
        "chains of every method; default: 1, with small and full 3",
        limit=AT_LEAST_ONE,
        metavar="N",
    )
    epochs: int | None = flag(
        None,
        GRID,
        "epochs of every link, with --stdpp twice as many; default: smoke 1, small 2, full 10",
        limit=AT_LEAST_ONE,
        metavar="N",
    )
    rows: tuple[str, ...] = flag(
        (),
        GRID,
        "not here: --methods says what is run",
        several=True,
        metavar="NAME",
        acts=[When(lambda _config: False, "another experiment: here --methods says what is run")],
    )
    figure: str | None = flag(
        None,
        GRID,
        "the figure of the R3F paper that is repeated: 3, generalization; 4, degradation; 5, "
        "retention; default: all three, from the same chains",
        choices=("3", "4", "5"),
    )
    methods: tuple[str, ...] = flag(
        tuple(METHODS),
        GRID,
        "how links are trained, with commas between. Figure 3 has all of them, figure 4 standard "
        "and r4f, figure 5 stdpp and r4f",
        metavar="NAMES",
    )
    chain: tuple[str, ...] = flag(
        ("sst", "qnli", "para", "rte"),
        GRID,
        "the tasks that are trained one after the other, each from the encoder of the one before",
        metavar="TASKS",
    )
    probe_tasks: tuple[str, ...] = flag(
        ("cola", "mrpc", "rte", "qnli", "para", "sts"),
        PROBE,
        "what figure 3 probes; the chain's tasks are always probed too",
        metavar="TASKS",
    )
    probe_input: str | None = flag(
        None,
        PROBE,
        "the vector that a probe reads: cls, the last layer's [CLS]; pooled, BERT's pooler; mean, "
        "over the tokens. Default: what the links train",
        choices=INPUTS,
    )
    probe_solver: tuple[str, ...] = flag(
        (CONVERGED,),
        PROBE,
        "converged: the best linear probe; published: Adam for the updates of the paper's Table "
        "5; or converged,published",
        metavar="SOLVERS",
    )
    probe_pairs: str = flag(
        "apart",
        PROBE,
        "apart: each text of a pair has a vector, and the probe reads u, v, |u - v|, u * v; "
        "together: one vector for both texts",
        choices=("apart", "together"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("methods", self.methods, tuple(METHODS))
        _check("chain", self.chain, (*BUILT_IN, *GLUE))
        _check("probe_tasks", self.probe_tasks, (*BUILT_IN, *GLUE))
        _check("probe_solver", self.probe_solver, SOLVERS)
        for figure in self.figures:
            if not self.methods_of(figure):
                needed = " or ".join(FIGURE_METHODS[figure])
                raise InputError(f"--figure {figure} --methods: needs {needed}")

    @property
    def figures(self) -> tuple[str, ...]:
        """The figures that are made: the one named, else all for which there are methods."""
        if self.figure is not None:
            return (self.figure,)
        return tuple(figure for figure in FIGURE_METHODS if self.methods_of(figure))

    def methods_of(self, figure: str) -> tuple[str, ...]:
        """The methods of a figure that are run."""
        return tuple(name for name in FIGURE_METHODS[figure] if name in self.methods)

    def links_of(self, method: str) -> int:
        """The number of a method's links: what its longest figure needs."""
        length = {"3": 1, "4": len(self.chain), "5": CYCLES * len(self.chain)}
        return max((length[f] for f in self.figures if method in self.methods_of(f)), default=0)

    @property
    def probed(self) -> tuple[str, ...]:
        """Every task that is probed at every link."""
        return tuple(dict.fromkeys((*self.probe_tasks, *self.chain)))

    @property
    def sizes(self) -> Sizes:
        """The scale's sizes."""
        return SIZES[self.scale]

    @property
    def how_much(self) -> Scale:
        """The links' scale, with the epochs and seeds that were given in place of its own."""
        links = self.sizes.links
        return Scale(self.epochs or links.epochs, links.limit, self.seeds or links.seeds)


FIGURE_METHODS: Mapping[str, tuple[str, ...]] = {
    "3": tuple(METHODS),
    "4": (STANDARD, R4F),
    "5": (STDPP, R4F),
}


def _check(flag_name: str, values: Sequence[str], known: Collection[str]) -> None:
    for value in values:
        if value not in known:
            raise InputError(f"--{flag_name} {value}: no such name; there are: {', '.join(known)}")
    if len(set(values)) < len(values):
        raise InputError(f"--{flag_name} {','.join(values)}: names one twice")

"""What Tables 2 and 3 of the R3F paper (Aghajanyan et al. 2021) have in common.

Rows are methods, and every task is trained alone: a run for each task, method and seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from minbert.experiments.grid.cells import plan
from minbert.experiments.grid.experiment import Experiment, GridRow
from minbert.experiments.tables.r3f_paper import Job, PaperConfig
from minbert.experiments.tables.rates import choose
from minbert.experiments.tables.seeds import COMPARED, METHODS

SOURCE = "the paper's"
_NOTES = (
    "all rows have Adam's betas .9 and .98, weight decay .01, 6% of warm-up and polynomial decay; "
    "STD++ has them for twice the updates",
    "the paper chose λ and the noise of R3F and R4F among eight for each task; here λ is 1 and the "
    "noise normal, unless flags after -- say otherwise for rows that have them",
)


def experiment(
    what: Experiment,
    config: PaperConfig,
    extra: Sequence[str],
    jobs: Sequence[Job],
    published: Mapping[str, Mapping[str, float]],
) -> Experiment:
    """`what` with a row for each method, of a command for each job.

    Everything is planned before a rate is tried, so that wrong flags are found at once.
    """

    def filled(rates: Mapping[str, str], notes: Sequence[str]) -> Experiment:
        rows = tuple(
            GridRow(
                method,
                tuple(job.command(config, extra, rates.get(job.task, ""), method) for job in jobs),
                published.get(method, {}),
                cost * len(jobs),
            )
            for method, (_, cost) in METHODS.items()
        )
        return replace(what, rows=rows, compared=COMPARED, notes=(*what.notes, *_NOTES, *notes))

    draft = filled({job.task: rate for job in jobs for rate in config.rates[:1]}, ())
    plan(draft.only(config.rows) if config.rows else draft, config.how_much, 1, extra)
    return filled(*choose(config, extra, jobs))

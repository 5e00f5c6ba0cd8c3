"""A learning rate for each task: standard fine-tuning decides among a few, and all rows use it."""

from collections.abc import Sequence
from pathlib import Path

from minbert.experiments.grid import gaps
from minbert.experiments.grid.cells import plan
from minbert.experiments.grid.experiment import BASE_SEED, Experiment, GridRow
from minbert.experiments.grid.results import CellResult
from minbert.experiments.tables.r3f_paper import Job, PaperConfig
from minbert.support.console import log
from minbert.support.errors import RunError
from minbert.tasks.registry import TITLES

_SEED = BASE_SEED + 1000  # no seed of the table's


def choose(
    config: PaperConfig, extra: Sequence[str], jobs: Sequence[Job]
) -> tuple[dict[str, str], list[str]]:
    """The best rate on dev by task, the first of equals, and notes; nothing without `--rates`.

    Raises RunError where a run fails.
    """
    if not config.rates:
        return {}, []
    names = {(job.task, rate): f"rate {rate}, {job.task}" for job in jobs for rate in config.rates}
    by_task = {job.task: job for job in jobs}
    rows = tuple(
        GridRow(name, (by_task[task].command(config, extra, rate),))
        for (task, rate), name in names.items()
    )
    tried = Experiment("rates", "Learning rates", tuple(by_task), rows, first_seed=_SEED)
    cells = plan(tried, config.how_much, 1, extra)
    log.info("choosing learning rates: %d runs, in %s/cells", len(cells), config.out)
    config.runner(cells).run("rates")
    results, missing = gaps.read(cells, Path(config.out))
    if missing:
        raise RunError(f"{missing[0]}: rates have to be tried whole; the same command goes on")
    reached = {cell.row: results[cell.key] for cell in cells}
    scores = {key: _score(reached[name], key[0]) for key, name in names.items()}
    chosen = {task: max(config.rates, key=lambda rate: scores[task, rate]) for task in by_task}
    return chosen, [_said(chosen, scores, config.rates)]


def _score(result: CellResult, task: str) -> float:
    score = result.score(task)
    assert score is not None, "a run scores what it trains"
    return score


def _said(
    chosen: dict[str, str], scores: dict[tuple[str, str], float], rates: Sequence[str]
) -> str:
    parts = (
        f"{TITLES[task]} {rate} ("
        + ", ".join(f"{other}: {scores[task, other]:.3f}" for other in rates)
        + ")"
        for task, rate in chosen.items()
    )
    return f"learning rates, chosen on dev by standard with seed {_SEED}: {'; '.join(parts)}"

"""The tables of the report, and all scores as CSV."""

from collections.abc import Iterator, Sequence

import numpy as np

from minbert.experiments.equal.arms import STANDARD
from minbert.experiments.equal.budget import TASK_NAMES
from minbert.experiments.equal.measured import Measured
from minbert.experiments.equal.outcome import Outcome
from minbert.reports.tables import Table, csv_text
from minbert.statistics.intervals import accuracy_spread, over_seeds, pearson_spread
from minbert.tasks.registry import TASKS, TITLES

_NOTHING = "–"


def result_tables(outcome: Outcome) -> list[Table]:
    """Scores, differences, noise, what tuning chose from, and R3F's term where it was trained."""
    tables = [_scores(outcome), _differences(outcome), _noise(outcome), _tuning(outcome)]
    return [*tables, *([_terms(outcome)] if outcome.terms else [])]


def _results(outcome: Outcome, arm: str) -> Iterator[tuple[int, Measured]]:
    """The arm's result of every draw that is compared."""
    for cell in outcome.cells:
        if cell.row == arm and cell.seed in outcome.draws:
            yield cell.seed, outcome.results[cell.key]


def _scores(outcome: Outcome) -> Table:
    header = ["arm", "rate", "strength"]
    header += [f"{TITLES[task]} {TASKS[task].metric_name}" for task in TASK_NAMES]
    header += ["steps", "units a step", "unit-epochs", "s/run"]
    rows = []
    for arm, tuned in outcome.chosen.items():
        spent = outcome.spent[arm]
        seconds = np.mean([result.seconds for _, result in _results(outcome, arm)])
        scores = [_score(outcome.scores[arm][task]) for task in TASK_NAMES]
        units = [f"{spent.steps:,}", f"{spent.units_a_step:.2f}", f"{spent.unit_epochs:.2f}"]
        rows.append(
            [arm, f"{tuned.rate:g}", tuned.strength or _NOTHING, *scores, *units, f"{seconds:.0f}"]
        )
    return Table("Scores at equal compute", header, rows, _score_notes(outcome))


def _score(scores: Sequence[float]) -> str:
    over = over_seeds(scores)
    low, high = over.interval
    return f"{over.mean:.4f} ± {over.sd:.4f} [{low:.4f}, {high:.4f}]"


def _score_notes(outcome: Outcome) -> list[str]:
    sizes, draws = outcome.design.config.sizes, len(outcome.draws)
    notes = [f"INCOMPLETE: {gap}" for gap in outcome.missing]
    notes += [
        f"mean ± standard deviation over {draws} draws of {sizes.rows:,} rows a task [95% interval "
        "of the mean, Student's t]; scored on the train rows that the draw leaves out, by the last "
        "step's model",
        f"the budget is {sizes.budget:g} unit-epochs; s/run: seconds of training, without scoring",
    ]
    off = [
        f"{arm} {spent.unit_epochs / sizes.budget - 1:+.1%}"
        for arm, spent in outcome.spent.items()
        if abs(spent.unit_epochs / sizes.budget - 1) > 0.01
    ]
    if off:
        notes.append(f"more than 1% off the budget, which has too few steps: {', '.join(off)}")
    edges = [arm for arm, tuned in outcome.chosen.items() if _at_edge(outcome, arm, tuned.rate)]
    if edges:
        notes.append(f"chosen rate at an end of what was tried: {', '.join(edges)}")
    return notes


def _at_edge(outcome: Outcome, arm: str, rate: float) -> bool:
    tried = [tuned.rate for tuned in outcome.every.values() if tuned.arm.name == arm]
    return rate in (min(tried), max(tried))


def _differences(outcome: Outcome) -> Table:
    header = ["arms", "task", "difference", "95% interval", "p", "p (Holm)", "more than noise"]
    rows = [
        [
            f"{one.arm} − {STANDARD}",
            TITLES[one.task],
            f"{one.over.mean:+.4f}",
            f"[{one.over.interval.low:+.4f}, {one.over.interval.high:+.4f}]",
            f"{one.p_value:.4f}",
            f"{one.corrected:.4f}",
            "yes" if one.is_found else "no",
        ]
        for one in outcome.contrasts
    ]
    notes = [
        "paired t-test over draws; the interval is uncorrected, p (Holm) is corrected for all "
        f"{len(outcome.contrasts)} comparisons"
    ]
    return Table("Differences from standard fine-tuning", header, rows, notes)


def _noise(outcome: Outcome) -> Table:
    header = ["task", "sd of a score", "sd of the examples' part", "sd of a difference"]
    header.append("smallest difference that is found")
    rows = [
        [
            TITLES[one.task],
            f"{one.score_sd:.4f}",
            f"{_of_examples(outcome, one.task):.4f}",
            f"{one.difference_sd:.4f}",
            f"{one.detectable:.4f}",
        ]
        for one in outcome.noise
    ]
    notes = [
        "a score is one run's on the rows that its draw leaves out; its sd is over draws and "
        "seeds, pooled over the arms. The examples' part is what as many other rows would add, and "
        "nearly all draws share these rows, so it is hardly in the sd",
        "the difference of two arms on the same draw scatters by less than two runs of their own "
        "would; the last column is found four times in five, at the level that Holm's correction "
        "asks of the smallest p-value",
    ]
    return Table("The noise of one score", header, rows, notes)


def _of_examples(outcome: Outcome, task: str) -> float:
    """The standard error of standard's mean score over other examples of the same number."""
    _, result = next(_results(outcome, STANDARD))
    score = float(np.mean(outcome.scores[STANDARD][task]))
    spread = pearson_spread if TASKS[task].is_correlation else accuracy_spread
    return spread(score) / result.rows[task] ** 0.5


def _tuning(outcome: Outcome) -> Table:
    chosen = {tuned.name for tuned in outcome.chosen.values()}
    rows = [
        [
            tuned.arm.name,
            f"{tuned.rate:g}",
            tuned.strength or _NOTHING,
            f"{outcome.reached[name]:.4f}",
            "chosen" if name in chosen else "",
        ]
        for name, tuned in outcome.every.items()
    ]
    draws = outcome.design.config.sizes.tuning_draws
    notes = [f"mean dev points of both tasks over {draws} further draws; r counts as (r + 1) / 2"]
    return Table("Tuning", ["arm", "rate", "strength", "points", ""], rows, notes)


def _terms(outcome: Outcome) -> Table:
    rows = [
        [
            part.row,
            TITLES[part.task],
            f"{part.term:.3g}",
            f"{part.of_noise:.3g}",
            f"{part.of_dropout:.3g}",
            f"{part.noise_share:.2%}",
        ]
        for part in outcome.terms
    ]
    header = ["runs", "task", "term", "of noise", "of dropout", "share of noise"]
    notes = [
        "means over the steps of all runs: the term that was trained; what the noise makes under "
        "equal masks; what two masks make without noise; and the noise's part of these two, which "
        "is its share of the term as published, with masks of its own"
    ]
    return Table("R3F's term and its noise", header, rows, notes)


def as_csv(outcome: Outcome) -> str:
    """A line for each arm, task and draw, with all digits, for programs."""
    header = ["arm", "rate", "strength", "task", "metric", "draw", "score", "unit_epochs"]
    rows = (
        [
            arm,
            tuned.rate,
            tuned.strength,
            task,
            TASKS[task].metric_name,
            draw,
            result.scores[task],
            outcome.spent[arm].unit_epochs,
        ]
        for arm, tuned in outcome.chosen.items()
        for draw, result in _results(outcome, arm)
        for task in TASK_NAMES
    )
    return csv_text([header, *rows])

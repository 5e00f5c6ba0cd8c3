"""The verdict in three sentences that a reader can quote."""

from minbert.experiments.equal.analysis import Contrast
from minbert.experiments.equal.arms import STANDARD
from minbert.experiments.equal.budget import TASK_NAMES
from minbert.experiments.equal.outcome import Outcome
from minbert.tasks.registry import TITLES


def verdict(outcome: Outcome) -> str:
    """What differs from standard fine-tuning, what would have been seen, and what was measured."""
    seen = " and ".join(f"{one.detectable:.3f} on {TITLES[one.task]}" for one in outcome.noise)
    largest = "; ".join(_largest(outcome, task) for task in TASK_NAMES)
    return " ".join(
        (
            _what_differs(outcome),
            f"A true difference of {seen} would have been found four times in five.",
            f"The largest differences measured are {largest}.",
        )
    )


def _what_differs(outcome: Outcome) -> str:
    sizes, count = outcome.design.config.sizes, len(outcome.draws)
    setting = (
        f"At {sizes.budget:g} unit-epochs of {sizes.rows:,} rows a task, over {count} draws and "
        f"{len(outcome.contrasts)} comparisons"
    )
    if found := [contrast for contrast in outcome.contrasts if contrast.is_found]:
        return f"{setting}, these differ from standard fine-tuning: {'; '.join(map(_told, found))}."
    methods = ", ".join(arm for arm in outcome.scores if arm != STANDARD)
    return f"{setting}, no method ({methods}) can be told from standard fine-tuning."


def _told(contrast: Contrast) -> str:
    what = f"{contrast.arm} by {contrast.over.mean:+.3f} on {TITLES[contrast.task]}"
    return f"{what} (p = {contrast.corrected:.4f} after Holm's correction)"


def _largest(outcome: Outcome, task: str) -> str:
    own = [contrast for contrast in outcome.contrasts if contrast.task == task]
    most = max(own, key=lambda contrast: abs(contrast.over.mean))
    low, high = most.over.interval
    value, where = f"{most.over.mean:+.3f}", f"{TITLES[task]} ({most.arm}"
    return f"{value} on {where}, 95% interval {low:+.3f} to {high:+.3f})"

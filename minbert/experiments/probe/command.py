"""`python -m minbert.experiments probe`: does fine-tuning make representations collapse?

The protocol and the rule of the verdicts are those of docs/collapse.md.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from minbert.experiments.grid.config import parse
from minbert.experiments.presentation.tables import command_table
from minbert.experiments.probe import keeping
from minbert.experiments.probe.chain import Plan, plan
from minbert.experiments.probe.config import ProbeConfig
from minbert.experiments.probe.figures import contrasts_of, series_of
from minbert.experiments.probe.outcome import Outcome, gather
from minbert.experiments.probe.steps import LINK
from minbert.experiments.probe.tables import (
    NAMES,
    as_csv,
    correlation_table,
    drift_table,
    figure_table,
    hours,
    layer_table,
    rows_table,
    sentence,
    verdict_table,
)
from minbert.experiments.probe.verdicts import Verdict, verdicts
from minbert.reports import report
from minbert.reports.report import Plots, Section
from minbert.reports.tables import Table, shown
from minbert.support import durable_files
from minbert.support.command import run_command, show
from minbert.support.console import log
from minbert.support.errors import RunError

TITLE = "Representational collapse"
_DESCRIPTION = """\
Fine-tune an encoder on a chain of tasks by several methods, freeze it after every link, and fit
linear probes of other tasks on its vectors: the three probing experiments of the R3F paper.
docs/collapse.md has the protocol and the rule of the verdicts. Flags of the main job follow after
--. Typical:

  python -m minbert.experiments probe --scale small --workers 2 -- --weights W --glue_dir GLUE
"""
_HOW = (
    "Dots are means over seeds, strokes their 95% intervals, small dots the seeds; the dashed line "
    "is the pretrained encoder, the dotted one random weights. The paper's shape has no numbers."
)
Tested = Mapping[tuple[str, str], Sequence[Verdict]]  # (solver, figure) -> its verdicts


def main(argv: Sequence[str]) -> int:
    """Run the steps and report; returns the exit code."""
    return run_command(lambda _stop: _run(argv), if_stopped="the same command goes on with it")


def _run(argv: Sequence[str]) -> None:
    config, extra = parse("probe", _DESCRIPTION, argv, ProbeConfig)
    planned, out = plan(config, extra), Path(config.out)
    steps = planned.steps
    links = sum(step.kind == LINK for step in steps)
    log.info("%s: %d links, %d steps in all, in %s/cells", TITLE, links, len(steps), out)
    keeping.revive(steps, out)
    runner = config.runner(steps, partial(keeping.drop, steps, out))
    runner.run("probe")
    keeping.drop(steps, out)
    for step in steps:
        if step.key in runner.failed:
            log.error("failed: %s: %s (%s)", step.name, runner.failed[step.key], step.folder(out))
    _write(gather(config, planned, out), out)


def _write(outcome: Outcome, out: Path) -> None:
    """Write and print the report. Raises RunError, afterwards, where steps are missing."""
    tested = {
        (solver, figure): verdicts(contrasts_of(outcome.config, figure), scores)
        for figure in outcome.config.figures
        for solver, scores in outcome.by_solver.items()
    }
    facts, tables, plots = _facts(outcome, tested), _tables(outcome, tested), _plots(outcome)
    commands = _commands(outcome.plan)
    name = _name(outcome)
    text = "\n".join([f"{fact}\n" for fact in facts] + [t.markdown() for t in (*tables, commands)])
    durable_files.write_texts({out / f"{name}.md": text, out / f"{name}.csv": as_csv(outcome)})
    show("\n".join([*(f"{fact}\n" for fact in facts), shown([*tables, commands])]))
    for kind, took in hours(outcome).items():
        show(f"{kind}: {took}")
    missing = [str(gap) for gap in outcome.missing]
    section = Section(TITLE, facts, missing=missing, tables=tables, plots=plots, commands=commands)
    show(f"report: {report.write(out, name, TITLE, [section])}")
    if missing:
        raise RunError(f"{len(missing)} probings are missing; the same command tries them again")


def _commands(planned: Plan) -> Table:
    """The commands of the links; each begins from the encoder of the one before."""
    if not planned.links:
        return Table("Commands", ["row", "command"], [])
    return command_table(planned.links)


def _facts(outcome: Outcome, tested: Tested) -> list[str]:
    config = outcome.config
    return [sentence(figure, found, solver) for (solver, figure), found in tested.items()] + [
        f"Probes read the input {outcome.plan.input}, pairs {config.probe_pairs}. The pretrained "
        f"encoder's weights have SHA-256 {outcome.pretrained}."
    ]


def _tables(outcome: Outcome, tested: Tested) -> list[Table]:
    config, found = outcome.config, []
    for scores in outcome.by_solver.values():
        for figure in config.figures:
            found.append(figure_table(figure, series_of(config, figure), scores))
            own = tested[scores.solver, figure]
            found.append(verdict_table(figure, own, scores.solver))
        found.append(rows_table(scores))
        if correlations := correlation_table(scores):
            found.append(correlations)
    first = next(iter(outcome.by_solver.values()))
    return [*found, drift_table(first), layer_table(first)]


def _plots(outcome: Outcome) -> list[Plots]:
    # imported late: --help need not wait for matplotlib
    from minbert.experiments.probe.plots import pictures

    return [
        Plots(NAMES[figure], _HOW, list(pictures(figure, series_of(outcome.config, figure), own)))
        for figure in outcome.config.figures
        for own in outcome.by_solver.values()
    ]


def _name(outcome: Outcome) -> str:
    """The name of the report's files: other steps make another name."""
    keys = "\n".join(sorted(probing.probes.key for probing in outcome.plan.probings))
    keys += "".join(outcome.config.figures)
    return f"probe-{outcome.config.scale}-{hashlib.sha256(keys.encode()).hexdigest()[:6]}"

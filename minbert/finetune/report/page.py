"""report.html of a run: one page with everything that the run says of itself."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minbert.finetune.build import Parts
from minbert.finetune.config import Key, ResolvedConfig, RunConfig
from minbert.finetune.report import attended, curves, examples, results
from minbert.finetune.report.outcome import Outcome
from minbert.reports.predictions import CONFUSION_WORDS, VALUES_WORDS
from minbert.reports.report import Plots, Section, as_html
from minbert.reports.tables import Table
from minbert.support import durable_files
from minbert.support.console import clock, log
from minbert.support.flags import shown
from minbert.support.places import MAIN_JOB
from minbert.tasks.task import Array
from minbert.training import run_folder
from minbert.training.run_folder import BAD_ROWS, REPORT


def leave(
    folder: Path,
    config: ResolvedConfig,
    parts: Parts,
    manifest: Mapping[str, Any],
    predicted: Mapping[Key, Array],
) -> None:
    """Write report.html into the run's folder and say where it is.

    The run is done and its files are written: what fails here costs the page and one warning.
    """
    try:
        text = page(Outcome(folder, config, parts, manifest, predicted))
        durable_files.write_text(folder / REPORT, text)
    except Exception as error:  # no page is worth a run
        log.warning("no %s: %r", folder / REPORT, error)
    else:
        log.info("report: %s", folder / REPORT)


def page(outcome: Outcome) -> str:
    """The page as HTML."""
    titles = {one.task.name: one.task.title for one in outcome.on_dev}
    config = outcome.config
    what = f"{config.option} on {', '.join(titles[name] for name in config.trained_tasks)}"
    rows = run_folder.read_log(outcome.folder)
    section = Section(
        title=what,
        headline=results.headline(outcome),
        opening=results.opening(outcome),
        facts=_facts(outcome, rows),
        tables=[results.score_table(outcome), results.epoch_table(outcome)],
        plots=[_curves(outcome, rows, titles), _predictions(outcome), _examples(outcome)],
        commands=_again(outcome),
    )
    return as_html(what, [section])


def _facts(outcome: Outcome, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    manifest = outcome.manifest
    git = manifest["git"] or {"commit": "unknown", "changed": False}
    changed = ", with changes" if git["changed"] else ""
    speed = np.median([row["tokens_per_s"] for row in rows]) if rows else 0
    lines = [
        f"{clock(manifest['wall_seconds'])} in all; epochs: {outcome.epochs[-1]['epoch']}, steps: "
        f"{outcome.epochs[-1]['step']:,}, tokens a second: {speed:,.0f}; "
        f"{manifest['device']}, threads: {manifest['threads']}; torch "
        f"{manifest['versions']['torch']}; commit {git['commit'][:12]}{changed}"
    ]
    if count := len(outcome.parts.bad_rows):
        lines.append(f"{count} rows of the input files could not be used: see {BAD_ROWS}")
    if outcome.config.limit:
        which = {"drawn": "drawn at random", "first": "the first"}[outcome.config.limit_rows]
        lines.append(
            f"--limit {outcome.config.limit}: so many rows of every file, {which}, were used"
        )
    return lines


def _curves(
    outcome: Outcome, rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]
) -> Plots:
    pictures = list(curves.by_step(rows, titles)) if rows else []
    if len(outcome.epochs) > 1:
        pictures.insert(0, curves.by_epoch(outcome.epochs, outcome.manifest["best_epoch"], titles))
    words = "Lines are means over stretches of the run, bands the lowest and highest values there."
    return Plots("Learning curves", words, pictures)


def _predictions(outcome: Outcome) -> Plots:
    words = f"All dev examples, by the model of the best epoch. {CONFUSION_WORDS}"
    if any(one.task.top is not None for one in outcome.on_dev):
        words += f" On a scale, the fuller a hexagon, the more examples lie there. {VALUES_WORDS}"
    return Plots("Predictions and labels", words, list(results.predictions(outcome)))


def _examples(outcome: Outcome) -> Plots:
    """The worst and the surest answers of every task, and attention on the worst of the first."""
    model = outcome.parts.trainee.model
    found = [(one, examples.clearest(model, one)) for one in outcome.on_dev]
    trained = [(one, answers) for one, answers in found if one.is_trained and answers]
    one, answers = (trained or found)[0]
    words = (
        "Classes: the answers to which the model gives the largest probability, of at most 64 "
        "wrong and 64 right ones, drawn at random. Scales: the answers farthest from the label and "
        "nearest to it. A stroke | stands between the texts of a pair."
    )
    return Plots(
        "Worst and surest examples",
        words,
        (),
        [examples.table(outcome, each, own) for each, own in found],
        True,
        attended.shaded(outcome, one.dataset, answers[0].row),
    )


def _again(outcome: Outcome) -> Table:
    """The command that repeats the run, and every setting; those at their defaults are folded."""
    defaults = RunConfig.__dataclass_fields__
    rows = [["again", f"`{MAIN_JOB} --like {outcome.folder}`"]]
    quiet = []
    for entry in dataclasses.fields(outcome.config):
        value = getattr(outcome.config, entry.name)
        if value is None or value == defaults[entry.name].default:
            quiet.append(len(rows))
        rows.append([f"--{entry.name}", "–" if value is None else shown(value)])
    title = f"{len(quiet)} settings at their defaults"
    return Table("Settings", ["setting", "value"], rows, (), quiet, title)

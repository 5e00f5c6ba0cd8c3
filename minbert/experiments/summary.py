"""Finished runs over seeds: `python -m minbert.experiments.summary MANIFEST...`.

Runs that differ only in their seed form a row: mean and standard deviation of each dev score, and
the mean seconds of an epoch. Takes manifest.json files or run folders; prints a Markdown table.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minbert.finetune.identity import INDIFFERENT
from minbert.reports.tables import Table
from minbert.support.command import run_command, show
from minbert.training.record import read_finished

# Settings in which the runs of one row may differ.
_FREE = (*INDIFFERENT, "seed")


def group_by_configuration(manifests: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Group the runs that differ only in their seed, in the order of each group's first run.

    A setting that a run of an older version lacks counts as one that is not set.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for manifest in manifests:
        config = {n: value for n, value in _settings(manifest).items() if value is not None}
        groups.setdefault(json.dumps(config, sort_keys=True), []).append(manifest)
    return list(groups.values())


def _settings(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in which the runs of one row may not differ."""
    config = manifest["config"].items()
    return {n: value for n, value in config if n not in _FREE and not n.endswith("_out")}


def differing_settings(groups: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """A label for each group: the settings in which the groups differ, as flags."""
    configs = [_settings(group[0]) for group in groups]
    names = [
        name
        for name in dict.fromkeys(name for config in configs for name in config)
        if len({json.dumps(config.get(name)) for config in configs}) > 1
    ]
    labels = []
    for config in configs:
        words = [
            f"--{name}" if config.get(name) is True else f"--{name} {config[name]}"
            for name in names
            if config.get(name) not in (False, None)
        ]
        labels.append(" ".join(words) or "as the others have in common")
    return labels


def table(manifests: Sequence[dict[str, Any]]) -> str:
    """A Markdown table: a row for each configuration, mean (standard deviation) over seeds."""
    groups = group_by_configuration(manifests)
    tasks = list(dict.fromkeys(task for manifest in manifests for task in manifest["dev"]))
    header = ["configuration", "seeds", *tasks, "train s/epoch", "dev s/epoch"]
    rows = []
    for group, label in zip(groups, differing_settings(groups), strict=True):
        epochs = [epoch for manifest in group for epoch in manifest["epochs"]]
        seconds = [
            f"{statistics.mean(epoch[kind] for epoch in epochs):.0f}"
            for kind in ("train_seconds", "dev_seconds")
        ]
        scores = [_mean_and_spread(_scores(group, task)) for task in tasks]
        rows.append([label, str(len(group)), *scores, *seconds])
    return Table("Scores over seeds", header, rows).markdown()


def _scores(group: Sequence[Mapping[str, Any]], task: str) -> list[float]:
    return [manifest["dev"][task] for manifest in group if task in manifest["dev"]]


def _mean_and_spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ({statistics.stdev(values):.3f})"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("manifests", nargs="+", metavar="MANIFEST", type=Path)
    paths = parser.parse_args(argv).manifests
    return run_command(
        lambda _stop: show(table([read_finished(path) for path in paths]), end=""),
        "nothing was printed",
    )


if __name__ == "__main__":
    sys.exit(main())

"""The scoreboard of faults: `python -m minbert.experiments faults`."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

from minbert.experiments.faults.config import FaultsConfig
from minbert.experiments.faults.injection import Injection
from minbert.experiments.faults.place import Prepared, Site
from minbert.experiments.faults.plans import CLASSES, Sources, planned
from minbert.experiments.faults.playing import play
from minbert.experiments.faults.process import Forks, Interpreters
from minbert.experiments.faults.report import Line, table
from minbert.reports.tables import shown
from minbert.support import durable_files, untrusted
from minbert.support.command import run_command, show
from minbert.support.console import ProgressBar, log
from minbert.support.errors import InputError, RunError
from minbert.support.flags import OneLineParser, parser_for
from minbert.support.randomness import derive_seed

_LINES, _JSON, _MARKDOWN = "injections.jsonl", "faults.json", "faults.md"
_DESCRIPTION = """\
Let things go wrong in the main job, one at a time: kills and disk errors at its operations on
files, damaged files, signals, and more. Each time the same command goes on with --resume, and its
results are held against those of a run in which nothing went wrong. Typical:

  python -m minbert.experiments faults --quick
  python -m minbert.experiments faults --output_dir runs/faults --resume
"""


def make_parser() -> OneLineParser:
    """One flag a field of FaultsConfig; only flags that were typed are stored."""
    prog = "python -m minbert.experiments faults"
    return parser_for(FaultsConfig, prog=prog, usage="%(prog)s [flags]", description=_DESCRIPTION)


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code, 1 where something was lost or silent."""

    def work(_stop: object) -> None:
        lines = run(FaultsConfig(**vars(make_parser().parse_args(argv))))
        if failed := [line for line in lines if line.failed]:
            raise RunError(f"{len(failed)} injections were lost or silent")

    return run_command(work)


def run(config: FaultsConfig, forks: Callable[[], Forks] = Forks) -> list[Line]:
    """Play the injections that are not played yet; print the table and write it beside them.

    Raises InputError for a folder that holds something else, RunError where even the command
    without a fault fails.
    """
    if unknown := set(config.only) - {entry.name for entry in CLASSES}:
        names = ", ".join(entry.name for entry in CLASSES)
        raise InputError(f"--only {min(unknown)}: no such class; there are {names}")
    out = Path(config.output_dir)
    done = _done(out, resume=config.resume)
    with tempfile.TemporaryDirectory(prefix="minbert-faults-") as folder:
        site = Site(Path(folder), out.resolve(), forks(), Interpreters(), config.seed)
        prepared = site.prepare()
        injections = _chosen(config, site)
        keys = {each.key for each in injections}
        lines = [line for line in done if line.key in keys and not line.failed]
        known = {line.key for line in lines}
        to_do = [each for each in injections if each.key not in known][: config.limit]
        with ProgressBar(len(injections), "faults", "injections", done=len(lines)) as bar:
            for line in _played(site, prepared, to_do, out):
                lines.append(line)
                bar.update(1, {"failed": str(sum(each.failed for each in lines))})
    _write(out, lines, len(injections), config.seed)
    return lines


def _played(
    site: Site, prepared: Prepared, injections: Sequence[Injection], out: Path
) -> Iterator[Line]:
    """Play injections one after the other; each is written down before the next begins."""
    written = durable_files.JsonLines(out / _LINES)
    for each in injections:
        began = time.monotonic()
        verdict = play(site, prepared, each)
        seconds = round(time.monotonic() - began, 2)
        line = Line(each.key, each.group, each.name, verdict, seconds, each.plain)
        written.write([dataclasses.asdict(line)])
        _say_failure(line)
        yield line
    written.close()


def _done(out: Path, *, resume: bool) -> list[Line]:
    """The injections of an earlier command, by the last line of each.

    Raises InputError for a folder of something else.
    """
    path = out / _LINES
    if out.exists() and any(out.iterdir()) and not path.exists():
        raise InputError(f"--output_dir {out}: holds something else than faults; name another")
    if path.exists() and not resume:
        raise InputError(
            f"--output_dir {out}: holds injections; go on by --resume, or name another"
        )
    out.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        return []
    text = untrusted.read_text(path)
    whole, _, torn = text.rpartition("\n")
    if torn:  # by a kill: what is written next must begin a line
        durable_files.write_text(path, f"{whole}\n" if whole else "")
    lines = [Line.of(json.loads(row)) for row in whole.splitlines()]
    return list({line.key: line for line in lines}.values())


def _chosen(config: FaultsConfig, site: Site) -> list[Injection]:
    """The injections that the flags ask for."""

    def sources(name: str) -> Sources:
        draw = Random(derive_seed(config.seed, "faults", name))
        return Sources(draw, site.operations, site.home)

    return planned(sources, only=config.only, quick=config.quick)


def _say_failure(line: Line) -> None:
    for word, why in (("lost", line.verdict.lost), ("silent", line.verdict.silent)):
        if why:
            log.warning("%s: %s: %s: %s", word, line.group, line.name, why)


def _write(out: Path, lines: Sequence[Line], count: int, seed: int) -> None:
    found = table(lines, count, seed)
    show(shown([found]), end="")
    rows = [dataclasses.asdict(line) for line in lines]
    facts = {"seed": seed, "planned": count, "injections": rows}
    durable_files.write_texts(
        {
            out / _JSON: durable_files.json_text(facts),
            out / _MARKDOWN: found.markdown(),
        }
    )

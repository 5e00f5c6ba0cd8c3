"""What the autograder runs for a submission, in the folders that Gradescope gives it.

`source/` is the zip's content (autograder.py), `submission/` the student's, `results/` ours. The
package in `source/` is emptied: no solution is on that machine, only what one computes.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from minbert.classroom.marking.desk import Desk, opened
from minbert.classroom.marking.marks import Key
from minbert.classroom.marking.sandbox import Limits
from minbert.classroom.recorded import load
from minbert.classroom.steps import Step, steps_of
from minbert.grade.gold import read_gold
from minbert.grade.submission import Source
from minbert.support import durable_files, untrusted
from minbert.support.command import run_command

SETTINGS, HIDDEN, GOLD = "settings.json", "hidden", "gold"


def run(top: Path) -> None:
    """Mark the submission below `top` and write its results."""
    source = top / "source"
    source.chmod(0o700)  # for whoever is not root, should there be no namespaces
    settings = untrusted.read_object(source / SETTINGS)
    steps = steps_of(settings["holes"])
    gold = read_gold(source / GOLD, "dev", lint=False)
    limits = Limits(settings["seconds"], settings["memory"])
    with opened(_key(source / HIDDEN, steps), gold, steps, limits) as desk:
        _write(desk, top, settings["visibility"])


def _write(desk: Desk, top: Path, visibility: str) -> None:
    marked = desk.mark(Source("submission", top / "submission"))
    durable_files.write_json(top / "results" / "results.json", marked.results(visibility))


def _key(folder: Path, steps: Iterable[Step]) -> Key:
    return {step.name: load(folder / f"{step.name}.safetensors") for step in steps}


def main() -> int:
    """Run for Gradescope's folder, or the one that $AUTOGRADER names; returns the exit code."""
    top = Path(os.environ.get("AUTOGRADER", "/autograder"))
    return run_command(lambda _stop: run(top), if_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())

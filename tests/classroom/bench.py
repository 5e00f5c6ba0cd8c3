"""A sandbox with a marker, for tests; run as a program it marks the hostile ones and says how."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from minbert.classroom.marking import sandbox
from minbert.classroom.marking.marks import Marker, StepMark
from minbert.classroom.marking.predictions import Predictions
from minbert.classroom.marking.results import results
from minbert.classroom.marking.sandbox import Limits, Sandbox
from minbert.classroom.marking.submission import HandedIn, files_with_holes
from minbert.classroom.marking.tree import libraries, make_base
from minbert.classroom.recording import recorded
from minbert.classroom.source import PACKAGE
from minbert.classroom.steps import Step, steps_of
from tests.classroom.hostile import FILE, HOSTILE, Hostile
from tests.classroom.results_schema import is_valid

SHORT, LONG = Limits(1, 512), Limits(30, 512)
NOTHING = Predictions({}, [], [])


class Bench:
    """Marks the modules that it is given, by the steps of a level."""

    def __init__(self, folder: Path, level: str = "attention") -> None:
        self.steps = steps_of(level)
        self.key = {step.name: recorded(step, 5) for step in self.steps}
        self.base = folder / "base"
        make_base(self.base, self.steps)
        loaded = [name for name in libraries() if level != "attention" or "_dynamo" not in name]
        self.sandbox = Sandbox(LONG, loaded)

    def marks(
        self,
        files: Mapping[Path, bytes],
        limits: Limits = LONG,
        steps: Sequence[Step] | None = None,
    ) -> list[StepMark]:
        """The marks of a submission with these modules."""
        self.sandbox.limits = limits
        marker = Marker(self.sandbox, self.base, self.key, self.steps if steps is None else steps)
        found = marker.marks(HandedIn(files))
        assert is_valid(results(found, NOTHING, [], 1.0, "visible"))
        return found

    def hostile(self, one: Hostile, **names: object) -> StepMark:
        """The mark of a hostile submission for the step that it attacks."""
        files, step = {FILE: one.module(**names)}, self.steps[:1]
        (mark,) = self.marks(files, SHORT if one.endless else LONG, step)
        if one.endless:
            assert mark.points == 0 and "not ended after 1 seconds" in str(mark.wrong)
        elif one.passes:
            assert mark.points == mark.step.points, mark.wrong
        else:
            assert mark.points < mark.step.points or not one.says
            assert one.says in str(mark.wrong), (one.name, mark.wrong)
        return mark


def our_files(steps: Sequence[Step]) -> dict[Path, bytes]:
    """Our own modules with the steps' functions in them."""
    return {path: (PACKAGE.parent / path).read_bytes() for path in files_with_holes(steps)}


def main(interpreter: str) -> None:
    """Mark ours and all hostile ones in a sandbox of this user's; the interpreter starts it."""
    sandbox.subprocess.Popen = partial(subprocess.Popen, executable=interpreter)  # type: ignore
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        bench = Bench(Path(folder))
        with bench.sandbox as box:
            said: dict[str, object] = {
                "namespaces": box.has_namespaces,
                "user": box.user,
                "not": box.not_enforced(),
            }
            wrong = [mark.wrong for mark in bench.marks(our_files(bench.steps))]
            for one in HOSTILE:
                free = one.name in UNENFORCED
                tried = dataclasses.replace(one, says="", passes=False) if free else one
                bench.hostile(tried, target=f"{folder}/outside")
        said["wrong"] = [each for each in wrong if each]
        print(json.dumps({**said, "count": len(HOSTILE)}))


UNENFORCED = {"writes outside"}  # what is not enforced without namespaces

if __name__ == "__main__":
    main(sys.argv[1])

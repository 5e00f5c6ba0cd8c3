"""A submission's marks: what its process made of each step's inputs, held against ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from minbert.classroom.judge import problem
from minbert.classroom.marking.sandbox import Sandbox
from minbert.classroom.marking.submission import HandedIn, files_with_holes
from minbert.classroom.marking.tree import planted
from minbert.classroom.marking.wire import Broken, Outcome, packed_inputs, unpacked
from minbert.classroom.recorded import Recorded
from minbert.classroom.steps import Step
from minbert.support.errors import RunError

Key = Mapping[str, Mapping[str, Recorded]]  # by step and exercise


@dataclass(frozen=True)
class StepMark:
    """A step's mark; `wrong` says what is wrong with each exercise that earned nothing."""

    step: Step
    exercises: int
    wrong: Mapping[str, str] = field(default_factory=dict)

    @property
    def points(self) -> float:
        """The part of the step's points for exercises that are right."""
        return round(self.step.points * (1 - len(self.wrong) / self.exercises), 2)


class Marker:
    """Marks submissions, one at a time, in a sandbox of its own."""

    def __init__(self, sandbox: Sandbox, base: Path, key: Key, steps: Sequence[Step]) -> None:
        """`base` is the starter's part of the tree (tree.py)."""
        self._sandbox, self._base, self._key, self.steps = sandbox, base, key, steps

    def check(self) -> None:
        """Raise RunError where not even an empty starter runs: then nobody would have points."""
        step = self.steps[0]
        found = self._outcomes(step, {})
        words = [found] if isinstance(found, str) else list(found.values())
        empty = [step.message(hole) for hole in step.holes]
        if strange := [each for each in words if each not in empty]:
            raise RunError(f"submissions cannot be run here: {strange[0]}")

    def marks(self, handed_in: HandedIn) -> list[StepMark]:
        """The marks of the steps, in order. Never raises over what was handed in."""
        return [self._mark(step, handed_in) for step in self.steps]

    def _mark(self, step: Step, handed_in: HandedIn) -> StepMark:
        """Run a step with its own modules; after an error again, beside the other ones too.

        So an error in another step's module costs nothing here, and help from one is there.
        """
        records, own = self._key[step.name], handed_in.of(step)
        if not any(path in own for path in files_with_holes([step])):
            return StepMark(step, len(records), dict.fromkeys(records, "its file is not there"))
        wrong, had_error = self._judged(step, own)
        if had_error and own != handed_in.whole:
            again, _ = self._judged(step, handed_in.whole)
            wrong = {name: words for name, words in wrong.items() if name in again}
        return StepMark(step, len(records), wrong)

    def _judged(self, step: Step, files: Mapping[Path, bytes]) -> tuple[dict[str, str], bool]:
        """What is wrong with which exercise, and whether one ended in an error."""
        records = self._key[step.name]
        outcomes = self._outcomes(step, files)
        if isinstance(outcomes, str):
            return dict.fromkeys(records, outcomes), False
        wrong, had_error = {}, False
        for name, record in records.items():
            found = outcomes.get(name, outcomes.get("", "no output came back"))
            if isinstance(found, str):
                wrong[name], had_error = found, True
            elif words := problem(found, record.expected, record.mistakes, numbers=False):
                wrong[name] = words
        return wrong, had_error

    def _outcomes(self, step: Step, files: Mapping[Path, bytes]) -> Mapping[str, Outcome] | str:
        """What came back, by exercise (the name is empty for all), or why nothing did."""
        inputs = packed_inputs({n: record.inputs for n, record in self._key[step.name].items()})
        with planted(self._base, self._sandbox.folder, files) as tree:
            answer = self._sandbox.run(tree, step.name, inputs)
        if answer.stopped:
            return answer.stopped
        try:
            return unpacked(answer.content)
        except Broken as error:
            return error.words
